package declarative

import org.codehaus.groovy.ast.expr.ConstantExpression
import org.codehaus.groovy.ast.expr.Expression
import org.codehaus.groovy.ast.expr.GStringExpression
import org.codehaus.groovy.ast.expr.PropertyExpression
import org.codehaus.groovy.ast.expr.VariableExpression

/**
 * One build of a pipeline. Each rule names what it stands for: a plugin and its class or method.
 * ModelInterpreter, Utils and validator are of pipeline-model-definition.
 */
class Build {
    /** Variables that the runner itself adds to those of the pipeline. */
    private static final List<String> OWN = ['STAGE_NAME', 'NODE_NAME', 'WORKSPACE']

    private final Stage root
    private final Map<String, Object> scenario
    private final Executor executor
    private final List<Map<String, Object>> events = [].asSynchronized()
    /** The variables that scripts set by `env.NAME = value`. */
    private final Map<String, String> assigned = Collections.synchronizedMap([:])
    private String result = 'SUCCESS'
    private int agents = 0

    Build(Stage root, Map<String, Object> scenario, Executor executor) {
        this.root = root
        this.scenario = scenario
        this.executor = executor
    }

    Map<String, Object> run() {
        executor.begin()
        emit('options', new Context(), root.options + [:])
        pipeline()
        emit('result', new Context(), [result: result])
        [result: result, error: null, events: events]
    }

    // ---- Stages

    /** ModelInterpreter.call: agent, credentials, variables, options, stages, post. */
    private void pipeline() {
        Stopped first = null
        boolean posted = false
        try {
            inAgent(root, new Context()) { onAgent ->
                inCredentials(root, onAgent) { bound ->
                    inOptions(root, withVariables(root, bound)) { context ->
                        first = sequence(root.stages, context)
                        posted = true
                        first = post(root, first, context)
                    }
                }
            }
        } catch (Stopped error) {
            first = first ?: error
        }
        if (!posted) first = post(root, first, new Context())
        if (first != null) worsen(first.result)
    }

    /**
     * ModelInterpreter.evaluateSequentialStages: stage after stage; a failed one makes the rest
     * skipped. Returns the first failure.
     */
    private Stopped sequence(List<Stage> stages, Context context) {
        Stopped first = null
        stages.each { stage ->
            try {
                runStage(stage, first == null ? '' : 'an earlier stage failed', context)
            } catch (Stopped error) {
                first = first ?: error
            }
        }
        first
    }

    /** ModelInterpreter.evaluateStage: runs a stage, or skips it for a reason. */
    private void runStage(Stage stage, String reason, Context outside) {
        String path = outside.stage ? "${outside.stage} / ${stage.name}" : stage.name
        def context = outside.but(stage: path).having([STAGE_NAME: stage.name])
        if (reason) {
            skip(stage, reason, context)
            return
        }
        long began = System.nanoTime()
        emit('stage', context)
        Stopped first = null
        try {
            if (!enter(stage, context)) {
                skip(stage, 'when', context)
                return
            }
        } catch (Stopped error) {
            worsen(error.result)
            first = error
        }
        // Outside the agent, credentials and options of its branches, as in Jenkins.
        if (stage.parallel != null) first = post(stage, first, context)
        Map<String, Object> end = [result: first == null ? 'SUCCESS' : first.result]
        if (first != null) end.message = first.message
        if (executor.real) end.seconds = seconds(began)
        emit('end', context, end)
        if (first != null) throw first
    }

    /** ModelInterpreter.skipStage: the stages inside are skipped, too. */
    private void skip(Stage stage, String reason, Context context) {
        emit('skipped', context, [reason: reason])
        (stage.parallel ?: stage.stages ?: []).each { runStage(it, reason, context) }
    }

    /**
     * ModelInterpreter.evaluateStage enters the sections in this order: options, input, agent,
     * credentials and variables. WhenEvaluator: `when` comes before the credentials, or earlier if
     * it says so. Returns whether `when` let the stage run.
     */
    private boolean enter(Stage stage, Context context) {
        def when = stage.when
        if (when?.beforeOptions && !isMet(when, context)) return false
        boolean ran = true
        inOptions(stage, context) { limited ->
            ran = !when?.beforeInput || isMet(when, limited)
            if (!ran) return
            inInput(stage, limited) { approved ->
                inAgent(stage, approved) { onAgent ->
                    boolean late = when != null && !when.beforeOptions && !when.beforeInput
                    ran = !late || isMet(when, onAgent)
                    if (!ran) return
                    inCredentials(stage, onAgent) { body(stage, withVariables(stage, it)) }
                }
            }
        }
        ran
    }

    /** ModelInterpreter.executeSingleStage, and the stages inside. */
    private void body(Stage stage, Context context) {
        if (stage.parallel != null) {
            parallel(stage, context)
            return
        }
        Stopped first = null
        if (stage.stages != null) {
            first = sequence(stage.stages, context)
        } else {
            try {
                runSteps(stage.steps, context)
            } catch (Stopped error) {
                worsen(error.result)
                first = error
            }
        }
        first = post(stage, first, context)
        if (first != null) throw first
    }

    /** workflow-cps: ParallelStep without failFast. Every branch runs to its end. */
    private void parallel(Stage stage, Context context) {
        def errors = [].asSynchronized()
        executor.runParallel(stage.parallel.collect { branch ->
            {
                ->
                try {
                    runStage(branch, '', context)
                } catch (Exception error) {
                    errors << error
                }
            }
        })
        def error = errors.find { !(it instanceof Stopped) } ?: errors ? errors[0] : null
        if (error != null) throw error
    }

    /** ModelInterpreter.runPostConditions, of `always` alone; returns the first failure. */
    private Stopped post(Stage stage, Stopped before, Context context) {
        if (stage.always == null) return before
        if (before != null) worsen(before.result)
        emit('post', context, [condition: 'always'])
        try {
            runSteps(stage.always, context)
        } catch (Stopped error) {
            emit('error', context, [message: error.message, during: 'post always'])
            worsen(error.result)
            return before ?: error
        }
        before
    }

    // ---- The sections around a stage

    /** ModelInterpreter.inWrappers. workflow-basic-steps: TimeoutStep; BindingStep. */
    private void inOptions(Stage stage, Context context, Closure inside) {
        def timeout = stage.options.timeout
        def limited = timeout ? context.limited(timeout.seconds) : context
        inside(bound(stage.options.withCredentials?.bindings ?: [], limited))
    }

    /** lockable-resources: LockStep. A resource that is not declared is made by its first lock. */
    private void inLock(String resource, Context context, Closure inside) {
        emit('lock', context, [resource: resource])
        try {
            inside(context.but(locks: context.locks + [resource]))
        } finally {
            emit('unlock', context, [resource: resource])
        }
    }

    /** ModelInterpreter.stageInput. pipeline-input-step: InputStepExecution. */
    private void inInput(Stage stage, Context context, Closure inside) {
        def input = stage.input
        if (input == null) {
            inside(context)
            return
        }
        def approval = scenario.approval
        String answer = approval == null ? 'nobody' : approval.by ? 'approved' : 'refused'
        emit('input', context, [
            message: input.message, submitter: input.submitter, parameter: input.submitterParameter,
            timeout: stage.options.timeout.seconds, locks: context.locks, answer: answer,
            by: approval?.by])
        if (answer == 'refused') throw new Stopped('ABORTED', 'the input was refused')
        if (answer == 'nobody') {
            throw new Stopped('ABORTED', "nobody answered within ${context.timeouts.min()} s")
        }
        String parameter = input.submitterParameter
        inside(parameter ? context.having([(parameter): approval.by]) : context)
    }

    /** ModelInterpreter.inDeclarativeAgent, LabelScript: it checks out, unlike the step node. */
    private void inAgent(Stage stage, Context context, Closure inside) {
        if (stage.agent == null) {
            inside(context)
            return
        }
        onNode(value(stage.agent, context), context) { onAgent ->
            checkout(onAgent)
            inside(onAgent)
        }
    }

    /** workflow-durable-task-step: ExecutorStepExecution, with its variables. */
    private void onNode(String label, Context context, Closure inside) {
        def agent = new Agent(label: label, number: nextAgent())
        agent.workspace = executor.workspace(agent)
        def onAgent = context.but(agent: agent).having([
            NODE_NAME: "${label}-${agent.number}".toString(), WORKSPACE: agent.workspace.path])
        emit('agent', onAgent, [label: label, number: agent.number])
        try {
            inside(onAgent)
        } finally {
            emit('released', onAgent, [label: label, number: agent.number])
        }
    }

    private synchronized int nextAgent() {
        ++agents
    }

    /** workflow-scm-step: SCMStep; `scm` is workflow-multibranch's SCMVar. */
    private void checkout(Context context) {
        requireAgent(context)
        emit('checkout', context)
        executor.checkout(context.agent, environment(context))
    }

    /** ModelInterpreter.withCredentialsBlock: an id may use variables, also a script's. */
    private void inCredentials(Stage stage, Context context, Closure inside) {
        def inner = context
        stage.environment.findAll { it.credential }.each { variable ->
            String id = value(variable.value, context)
            String kind = scenario.credentials[id]?.kind == 'file' ? 'file' : 'string'
            inner = bind([credentialsId: id, kind: kind, variable: variable.name], inner)
        }
        inside(inner)
    }

    /** credentials-binding: BindingStep, one binding after the other. */
    private Context bound(List<Map<String, String>> bindings, Context context) {
        bindings.inject(context) { inner, binding -> bind(binding, inner) }
    }

    /** credentials-binding: MultiBinding.getCredentials, StringBinding, FileBinding and others. */
    private Context bind(Map<String, String> binding, Context context) {
        String id = binding.credentialsId
        def credential = scenario.credentials[id]
        if (credential == null) {
            throw new Stopped('FAILURE', "Could not find credentials entry with ID '${id}'")
        }
        if (credential.kind != binding.kind) {
            throw new Stopped('FAILURE',
                "Credentials '${id}' is a ${credential.kind}, not a ${binding.kind}")
        }
        Map<String, String> values
        if (credential.kind == 'string') {
            values = [variable: credential.value]
        } else if (credential.kind == 'file') {
            requireAgent(context)
            values = [variable: executor.secretFile(id, credential)]
        } else {
            values = [usernameVariable: credential.username, passwordVariable: credential.password]
        }
        def variables = values.collectEntries { key, text -> [binding[key], text] }
        executor.hide(credential, variables)
        def names = variables.keySet() as List
        emit('credential', context, [id: id, kind: credential.kind, variables: names])
        context.having(variables).but(credentials: context.credentials + [id])
    }

    /** ModelInterpreter.withEnvBlock: after the credentials. */
    private Context withVariables(Stage stage, Context context) {
        def variables = stage.environment.findAll { !it.credential }
        if (!variables) return context
        context.having(variables.collectEntries { [it.name, value(it.value, context)] })
    }

    /** EnvironmentConditional.environmentMatches: an unset variable is an empty one. */
    private boolean isMet(When when, Context context) {
        def variables = environment(context)
        when.conditions.every { ((variables[it.name] ?: '') == it.value) != it.negated }
    }

    // ---- Steps

    private void runSteps(List<Step> steps, Context context) {
        steps.each { runStep(it, context) }
    }

    private Object runStep(Step step, Context context) {
        def arguments = step.arguments
        def text = { String name ->
            arguments[name] == null ? null : value(arguments[name], context)
        }
        if (context.deadline != null && System.nanoTime() > context.deadline) throw timeout()
        switch (step.name) {
            case '=':
                String assignment = arguments.value instanceof Step
                    ? runStep(arguments.value, context).toString().trim()
                    : value(arguments.value, context)
                assigned[arguments.name] = assignment
                emit('set', context, [name: arguments.name, value: assignment])
                break
            case 'sh':
                return sh(arguments, text('script'), context)
            case 'checkout':
                checkout(context)
                break
            case 'stash':
                requireAgent(context)
                def (name, includes) = [text('name'), text('includes')]
                boolean allowEmpty = arguments.allowEmpty
                emit('stash', context, [name: name, includes: includes, allowEmpty: allowEmpty])
                executor.stash(context.agent, name, includes, allowEmpty)
                break
            case 'unstash':
                requireAgent(context)
                emit('unstash', context, [name: text('name')])
                executor.unstash(context.agent, text('name'))
                break
            case 'junit':
                requireAgent(context)
                boolean optional = arguments.allowEmptyResults
                emit('junit', context, [results: text('testResults'), allowEmpty: optional])
                worsen(executor.junit(context.agent, text('testResults'), optional))
                break
            case 'archiveArtifacts':
                requireAgent(context)
                boolean empty = arguments.allowEmptyArchive
                emit('archive', context, [artifacts: text('artifacts'), allowEmpty: empty])
                executor.archive(context.agent, text('artifacts'), empty)
                break
            case 'recordCoverage':
            case 'recordIssues':
                // failOnError is false by default: without files they log that, and nothing else.
                requireAgent(context)
                emit('publish', context, [
                    tools: arguments.tools, always: arguments.enabledForFailure ?: false])
                break
            case 'withCredentials':
                runSteps(step.body, bound(arguments.bindings, context))
                break
            case 'lock':
                inLock(text('resource'), context) { runSteps(step.body, it) }
                break
            case 'timeout':
                runSteps(step.body, context.limited(arguments.seconds))
                break
            case 'if':
                def variables = environment(context)
                if (arguments.unless.every { variables[it.name] != it.value }) {
                    runSteps(step.body, context)
                }
                break
            case 'error': throw new Stopped('FAILURE', text('message'))
            case 'script':
                runSteps(step.body, context)
                break
            case 'node':
                onNode(text('label'), context) { runSteps(step.body, it) }
                break
            case 'catchError':
                catchError(step, text, context)
                break
            default: throw new IllegalStateException(step.name)
        }
        null
    }

    /** workflow-basic-steps: CatchErrorStep, with catchInterruptions as by default. */
    private void catchError(Step step, Closure text, Context context) {
        try {
            runSteps(step.body, context)
        } catch (Stopped error) {
            boolean aborted = error.result == 'ABORTED'
            String outcome = aborted ? 'ABORTED' : text('buildResult') ?: 'FAILURE'
            emit('caught', context, [
                message: text('message'), error: error.message, result: outcome,
                marks: aborted ? 'ABORTED' : text('stageResult') ?: 'SUCCESS'])
            worsen(outcome)
        }
    }

    /** workflow-durable-task-step: DurableTaskStep. Returns the output or the exit code. */
    private Object sh(Map<String, Object> arguments, String command, Context context) {
        requireAgent(context)
        def variables = environment(context)
        Map<String, Object> event = [
            command: command, credentials: context.credentials, locks: context.locks,
            timeout: context.timeouts ? context.timeouts.min() : null,
            variables: variables.findAll { name, _ ->
                !(name in OWN || scenario.variables.containsKey(name))
            }]
        emit('sh', context, event)
        if (scenario.lost == command) {
            context.agent.lost = true
            throw new Stopped('ABORTED', "the agent ${context.agent.label} was lost")
        }
        long began = System.nanoTime()
        def done = executor.sh(new Command(
            agent: context.agent, stage: context.stage, text: command, variables: variables,
            stdout: arguments.returnStdout ?: false, deadline: context.deadline))
        event.exit = done.exit
        if (executor.real) event.seconds = seconds(began)
        if (done.timedOut) throw timeout()
        if (arguments.returnStatus) return done.exit
        if (done.exit != 0) {
            throw new Stopped('FAILURE', "script returned exit code ${done.exit}: ${command}")
        }
        done.output
    }

    /** workflow-basic-steps: TimeoutStepExecution.ExceededTimeout, an interruption: ABORTED. */
    private static Stopped timeout() {
        new Stopped('ABORTED', 'Timeout has been exceeded')
    }

    /** workflow-step-api: MissingContextVariableException. */
    private static void requireAgent(Context context) {
        if (context.agent == null || context.agent.lost) {
            throw new Stopped('FAILURE',
                'Required context class hudson.FilePath is missing: the step needs an agent')
        }
    }

    // ---- Values

    /**
     * A shell's variables: the job's, the scripts' and the sections', innermost last.
     * workflow-cps: EnvActionImpl.getEnvironment; workflow-step-api: EnvironmentExpander.
     */
    private Map<String, String> environment(Context context) {
        Map<String, String> variables = new LinkedHashMap<String, String>(scenario.variables)
        synchronized (assigned) {
            variables.putAll(assigned)
        }
        context.layers.each { variables.putAll(it) }
        // core: hudson.EnvVars.override. An empty variable is unset.
        variables.findAll { it.value }
    }

    /** workflow-cps: CpsScript.getProperty, and RunWrapperBinder's currentBuild. */
    private String value(Expression expression, Context context) {
        switch (expression) {
            case ConstantExpression: return expression.value
            case GStringExpression:
                def text = new StringBuilder()
                expression.strings.eachWithIndex { string, at ->
                    text << string.value
                    if (at < expression.values.size()) text << value(expression.values[at], context)
                }
                return text.toString()
            case VariableExpression:
                def variable = environment(context)[expression.name]
                if (variable != null) return variable
                throw new Stopped('FAILURE', "No such property: ${expression.name}")
            case PropertyExpression:
                boolean ofBuild = expression.objectExpression.name == 'currentBuild'
                return ofBuild ? result : environment(context)[expression.propertyAsString]
        }
        throw new IllegalStateException(expression.text)
    }

    // ---- Events

    /** core: hudson.model.Run.setResult, Result.isWorseThan. */
    private synchronized void worsen(String to) {
        if (Reader.RESULTS.indexOf(to) > Reader.RESULTS.indexOf(result)) result = to
    }

    private static double seconds(long began) {
        Math.round((System.nanoTime() - began) / 1_000_000) / 1000.0d
    }

    private void emit(String type, Context context, Map<String, Object> event = [:]) {
        event.type = type
        event.stage = context.stage
        event.agent = context.agent?.label ?: ''
        events << event
        executor.show(event)
    }
}
