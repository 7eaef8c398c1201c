package declarative

import org.codehaus.groovy.ast.expr.ConstantExpression
import org.codehaus.groovy.ast.expr.Expression
import org.codehaus.groovy.ast.expr.GStringExpression
import org.codehaus.groovy.ast.expr.PropertyExpression
import org.codehaus.groovy.ast.expr.VariableExpression

/** One build of a pipeline: the order of things is that of Jenkins' ModelInterpreter. */
class Build {
    /** What the runner itself adds to what the pipeline says. */
    private static final List<String> GIVEN = ['STAGE_NAME', 'NODE_NAME', 'WORKSPACE']

    private final Stage root
    private final Map<String, Object> conditions
    private final Hands hands
    private final List<Map<String, Object>> events = [].asSynchronized()
    private final Map<String, String> assigned = Collections.synchronizedMap([:])
    /** What Jenkins reads when the build begins: of options and input. */
    private final Map<Stage, Map<String, Object>> settled = [:]
    private String result = 'SUCCESS'
    private int agents = 0

    Build(Stage root, Map<String, Object> conditions, Hands hands) {
        this.root = root
        this.conditions = conditions
        this.hands = hands
    }

    Map<String, Object> run() {
        try {
            settle(root)
            hands.begin()
            tell('options', new Context(), root.options.collectEntries { name, given -> [name, given.findAll { it.key != 'line' }] })
            pipeline()
        } catch (Unsupported error) {
            return [result: null, error: error.message, events: events]
        }
        tell('result', new Context(), [result: result])
        [result: result, error: null, events: events]
    }

    // ---- The order

    private void pipeline() {
        Exception first = null
        boolean posted = false
        try {
            inAgent(root, new Context()) { onAgent ->
                inCredentials(root, onAgent) { known ->
                    inOptions(root, inVariables(root, known)) { context ->
                        first = sequence(root.stages, null, null, context)
                        posted = true
                        first = post(root, first, context)
                        if (first != null) throw first
                    }
                }
            }
        } catch (Stopped error) {
            first = first ?: error
        }
        if (!posted) first = post(root, first, new Context())
        if (first != null) worsen(first.result)
    }

    /** Stage after stage; once one has failed, the rest is skipped. parent's post comes last. */
    private Exception sequence(List<Stage> stages, Exception before, Stage parent, Context context) {
        Exception first = before
        stages.each { stage ->
            try {
                one(stage, first, null, context)
            } catch (Stopped error) {
                worsen(error.result)
                first = first ?: error
            }
        }
        parent == null ? first : post(parent, first, context)
    }

    private void one(Stage stage, Exception before, String skip, Context outside) {
        String path = outside.stage ? "${outside.stage} / ${stage.name}" : stage.name
        def context = outside.but(stage: path).having([STAGE_NAME: stage.name])
        if (skip != null || before != null) {
            skipped(stage, before, skip ?: 'an earlier stage failed', context)
            if (before != null) throw before
            return
        }
        long began = System.nanoTime()
        tell('stage', context)
        Exception first = null
        boolean ran = true
        try {
            ran = entered(stage, context)
            if (!ran) skipped(stage, null, 'when', context)
        } catch (Stopped error) {
            worsen(error.result)
            first = error
        }
        if (!ran) return
        // Outside of what is around its branches, as in Jenkins.
        if (stage.parallel != null) first = post(stage, first, context)
        Map<String, Object> ended = [result: first == null ? 'SUCCESS' : first.result]
        if (first != null) ended.message = first.message
        if (hands.real) ended.seconds = seconds(began)
        tell('end', context, ended)
        if (first != null) throw first
    }

    /**
     * A stage's sections, from the outermost to its steps: options, input, agent, credentials, variables. `when` is asked before the
     * steps, or as early as it says itself; whether it let the stage run is returned.
     */
    private boolean entered(Stage stage, Context context) {
        def when = stage.when
        boolean asked = when == null
        if (!asked && when.beforeOptions) {
            if (!met(when, context)) return false
            asked = true
        }
        boolean ran = true
        inOptions(stage, context) { limited ->
            if (!asked && when.beforeInput) {
                asked = true
                ran = met(when, limited)
                if (!ran) return
            }
            answered(stage, limited) { told ->
                if (!asked && (when.beforeAgent || stage.parallel != null)) {
                    asked = true
                    ran = met(when, told)
                    if (!ran) return
                }
                inAgent(stage, told) { onAgent ->
                    ran = asked || met(when, onAgent)
                    if (!ran) return
                    inCredentials(stage, onAgent) { known -> body(stage, inVariables(stage, known)) }
                }
            }
        }
        ran
    }

    private void body(Stage stage, Context context) {
        if (stage.parallel != null) {
            parallel(stage, context)
            return
        }
        Exception error = null
        if (stage.stages != null) {
            error = sequence(stage.stages, null, stage, context)
        } else {
            try {
                steps(stage.steps, context)
            } catch (Stopped stopped) {
                worsen(stopped.result)
                error = stopped
            }
            error = post(stage, error, context)
        }
        if (error != null) throw error
    }

    /** Every branch runs to its end, whatever becomes of the others. */
    private void parallel(Stage stage, Context context) {
        def errors = [].asSynchronized()
        def branches = stage.parallel.collect { branch ->
            def run = {
                try {
                    one(branch, null, null, context)
                } catch (Exception error) {
                    errors << error
                }
            }
            run
        }
        hands.together(branches)
        def error = errors.find { !(it instanceof Stopped) } ?: errors ? errors[0] : null
        if (error != null) throw error
    }

    /** What is inside is skipped for the same reason, and said to be. */
    private void skipped(Stage stage, Exception error, String why, Context context) {
        tell('skipped', context, [why: why])
        (stage.parallel ?: stage.stages ?: []).each { inner ->
            try {
                one(inner, error, why, context)
            } catch (Stopped same) {
                assert same.is(error)
            }
        }
    }

    private Exception post(Stage stage, Exception before, Context context) {
        Exception first = before
        Reader.POST.findAll { stage.post.containsKey(it) }.each { condition ->
            String now = worse(result, first == null ? 'SUCCESS' : first.result)
            boolean due = condition in ['always', 'cleanup'] || condition == now.toLowerCase() ||
                (condition == 'unsuccessful' && now != 'SUCCESS')
            if (!due) return
            tell('post', context, [condition: condition])
            try {
                steps(stage.post[condition], context)
            } catch (Stopped error) {
                tell('error', context, [message: error.message, during: "post ${condition}".toString()])
                worsen(error.result)
                first = first ?: error
            }
        }
        first
    }

    // ---- What is around a stage

    private void inOptions(Stage stage, Context context, Closure inside) {
        def limited = stage.options.timeout ? context.limited(stage.options.timeout.seconds) : context
        def resource = settled[stage]?.resource
        resource == null ? inside(limited) : locked(resource, limited, inside)
    }

    private void locked(String resource, Context context, Closure inside) {
        tell('lock', context, [resource: resource])
        try {
            inside(context.but(locks: context.locks + [resource]))
        } finally {
            tell('unlock', context, [resource: resource])
        }
    }

    private void answered(Stage stage, Context context, Closure inside) {
        if (stage.input == null) {
            inside(context)
            return
        }
        def input = settled[stage].input
        def approval = conditions.approval
        String answer = approval == null ? 'nobody' : approval.by ? 'approved' : 'refused'
        tell('input', context, [
            message: input.message, ok: input.ok, submitter: input.submitter, parameter: input.submitterParameter,
            timeout: stage.options.timeout?.seconds, locks: context.locks, credentials: context.credentials, answer: answer, by: approval?.by])
        if (answer == 'refused') throw new Stopped('ABORTED', 'the input was refused')
        if (answer == 'nobody') {
            if (!context.timeouts) throw new Unsupported(stage.inputLine, 'nobody answers the input, and nothing ends the wait')
            throw new Stopped('ABORTED', "nobody answered within ${context.timeouts.min()} s")
        }
        inside(input.submitterParameter ? context.having([(input.submitterParameter): approval.by]) : context)
    }

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

    private void onNode(String label, Context context, Closure inside) {
        def agent = new Agent(label: label, number: numbered())
        agent.workspace = hands.workspace(agent)
        def onAgent = context.but(agent: agent).having(
            [NODE_NAME: "${label}-${agent.number}".toString(), WORKSPACE: agent.workspace.path])
        tell('agent', onAgent, [label: label, number: agent.number])
        try {
            inside(onAgent)
        } finally {
            tell('released', onAgent, [label: label, number: agent.number])
        }
    }

    private synchronized int numbered() {
        ++agents
    }

    private void checkout(Context context) {
        onDisk(context)
        tell('checkout', context)
        hands.checkout(context.agent, environment(context))
    }

    private void inCredentials(Stage stage, Context context, Closure inside) {
        def inner = context
        stage.environment.findAll { it.credential }.each { variable ->
            String id = value(variable.value, context)
            inner = bound(inner, id, credential(id), [variable: variable.name])
        }
        inside(inner)
    }

    private Map<String, String> credential(String id) {
        def found = conditions.credentials[id]
        if (found == null) throw new Stopped('FAILURE', "Could not find credentials entry with ID '${id}'")
        found
    }

    private Context bound(Context context, String id, Map found, Map<String, String> into) {
        Map<String, String> variables
        if (found.kind == 'string') {
            variables = [(into.variable): found.value]
        } else if (found.kind == 'file') {
            onDisk(context)
            variables = [(into.variable): hands.secret(id, found)]
        } else if (into.variable) {
            variables = [
                (into.variable): "${found.username}:${found.password}".toString(),
                (into.variable + '_USR'): found.username,
                (into.variable + '_PSW'): found.password,
            ]
        } else {
            variables = [(into.usernameVariable): found.username, (into.passwordVariable): found.password]
        }
        hands.hide(found, variables)
        tell('credential', context, [id: id, kind: found.kind, variables: variables.keySet() as List])
        context.having(variables).but(credentials: context.credentials + [id])
    }

    private Context inVariables(Stage stage, Context context) {
        def given = stage.environment.findAll { !it.credential }
        if (!given) return context
        Map<String, String> known = [:]
        Closure resolve
        // One may use another of the same block, whichever stands first, as in Jenkins.
        resolve = { Variable variable, Set<String> asking ->
            if (!known.containsKey(variable.name)) {
                known[variable.name] = value(variable.value, context) { String name ->
                    def other = given.find { it.name == name && name != variable.name }
                    if (other == null) return null
                    if (name in asking) throw new Unsupported(variable.line, "${variable.name} and ${name} are made from each other")
                    [resolve(other, asking + [variable.name])]
                }
            }
            known[variable.name]
        }
        given.each { resolve(it, [] as Set) }
        context.having(known)
    }

    private boolean met(When when, Context context) {
        when.conditions.every { met(it, context) }
    }

    private boolean met(Condition condition, Context context) {
        def argument = { String name -> condition.arguments[name] == null ? null : value(condition.arguments[name], context) }
        def variables = environment(context)
        switch (condition.name) {
            case 'not': return !met(condition.children[0], context)
            case 'anyOf': return condition.children.any { met(it, context) }
            case 'allOf': return condition.children.every { met(it, context) }
            case 'environment': return (variables[argument('name')] ?: '') == argument('value')
        }
        throw new Unsupported(condition.line, "${condition.name} is not known in when")
    }

    // ---- Steps

    private void steps(List<Step> steps, Context context) {
        steps.each { step(it, context) }
    }

    private Object step(Step step, Context context) {
        def text = { String name -> step.arguments[name] == null ? null : value(step.arguments[name], context) }
        if (context.deadline != null && System.nanoTime() > context.deadline) throw new Stopped('ABORTED', 'Timeout has been exceeded')
        switch (step.name) {
            case '=':
                String given = computed(step.arguments.value, context)
                assigned[step.arguments.name] = given
                tell('set', context, [name: step.arguments.name, value: given])
                return null
            case 'sh': return sh(step, text('script'), context)
            case 'echo':
                tell('echo', context, [message: text('message')])
                return null
            case 'error': throw new Stopped('FAILURE', text('message'))
            case 'checkout':
                checkout(context)
                return null
            case 'stash':
                onDisk(context)
                boolean empty = step.arguments.allowEmpty
                tell('stash', context, [name: text('name'), includes: text('includes'), excludes: text('excludes'), allowEmpty: empty])
                hands.stash(context.agent, text('name'), text('includes') ?: '**', text('excludes'), empty)
                return null
            case 'unstash':
                onDisk(context)
                tell('unstash', context, [name: text('name')])
                hands.unstash(context.agent, text('name'))
                return null
            case 'junit':
                onDisk(context)
                boolean none = step.arguments.allowEmptyResults
                tell('junit', context, [results: text('testResults'), allowEmpty: none])
                worsen(hands.junit(context.agent, text('testResults'), none))
                return null
            case 'archiveArtifacts':
                onDisk(context)
                boolean nothing = step.arguments.allowEmptyArchive
                tell('archive', context, [artifacts: text('artifacts'), allowEmpty: nothing])
                hands.archive(context.agent, text('artifacts'), text('excludes'), nothing)
                return null
            case 'withCredentials':
                steps(step.body, step.arguments.bindings.inject(context) { inner, binding -> withCredential(binding, inner) })
                return null
            case 'script':
                steps(step.body, context)
                return null
            case 'node':
                onNode(text('label'), context) { steps(step.body, it) }
                return null
            case 'lock':
                locked(text('resource'), context) { steps(step.body, it) }
                return null
            case 'timeout':
                steps(step.body, context.limited(step.arguments.seconds))
                return null
            case 'catchError':
                caught(step, text, context)
                return null
        }
        throw new Unsupported(step.line, "step ${step.name} is not known")
    }

    private Context withCredential(Map binding, Context context) {
        String id = value(binding.credentialsId, context)
        def found = credential(id)
        if (found.kind != binding.kind) {
            throw new Stopped('FAILURE', "Credentials '${id}' is of type ${found.kind} where ${binding.kind} was expected")
        }
        def into = binding.findAll { !(it.key in ['kind', 'credentialsId']) }
        bound(context, id, found, into.collectEntries { key, expression -> [key, value(expression, context)] })
    }

    private void caught(Step step, Closure text, Context context) {
        try {
            steps(step.body, context)
        } catch (Stopped error) {
            boolean interrupted = error.result == 'ABORTED'
            if (interrupted && step.arguments.catchInterruptions == false) throw error
            String outcome = interrupted ? 'ABORTED' : text('buildResult') ?: 'FAILURE'
            tell('caught', context, [
                message: text('message'), error: error.message, result: outcome,
                marks: interrupted ? 'ABORTED' : text('stageResult') ?: 'SUCCESS'])
            worsen(outcome)
        }
    }

    private String computed(Object asked, Context context) {
        if (asked instanceof Map) return asked.containsKey('trim') ? computed(asked.trim, context).trim() : step(asked.sh, context) as String
        value(asked, context)
    }

    private Object sh(Step step, String command, Context context) {
        onDisk(context)
        def variables = environment(context)
        String returns = step.arguments.returnStdout ? 'stdout' : step.arguments.returnStatus ? 'status' : ''
        Map<String, Object> event = [
            command: command, returns: returns, credentials: context.credentials, locks: context.locks,
            timeout: context.timeouts ? context.timeouts.min() : null,
            variables: variables.findAll { !(it.key in GIVEN || conditions.variables.containsKey(it.key)) }]
        tell('sh', context, event)
        if (conditions.lost == command) {
            context.agent.lost = true
            throw new Stopped('ABORTED', "the agent ${context.agent.label} was lost")
        }
        long began = System.nanoTime()
        def done = hands.sh(context.agent, context.stage, command, variables, returns == 'stdout', context.deadline)
        event.exit = done.exit
        if (hands.real) event.seconds = seconds(began)
        if (done.interrupted) throw new Stopped('ABORTED', 'Timeout has been exceeded')
        if (returns == 'status') return done.exit
        if (done.exit != 0) throw new Stopped('FAILURE', "script returned exit code ${done.exit}: ${command}")
        done.output
    }

    private static void onDisk(Context context) {
        if (context.agent == null || context.agent.lost) {
            throw new Stopped('FAILURE', 'Required context class hudson.FilePath is missing: the step needs an agent')
        }
    }

    // ---- Values

    /** What a shell sees: what the job says, what a script has set, then what the sections around say, the innermost last. */
    private Map<String, String> environment(Context context) {
        Map<String, String> found = new LinkedHashMap<String, String>(conditions.variables)
        synchronized (assigned) {
            found.putAll(assigned)
        }
        context.layers.each { found.putAll(it) }
        // An empty variable is none, as hudson.EnvVars has it.
        found.findAll { it.value }
    }

    /** A text. others says what variables are worth that are being made: [value], or null. */
    private String value(Expression expression, Context context, Closure others = { null }) {
        switch (expression) {
            case ConstantExpression: return expression.value
            case GStringExpression:
                def made = new StringBuilder()
                expression.strings.eachWithIndex { string, at ->
                    made << string.value
                    if (at < expression.values.size()) made << value(expression.values[at], context, others)
                }
                return made.toString()
            case VariableExpression:
                def known = others(expression.name)
                if (known) return known[0]
                def found = environment(context)[expression.name]
                if (found == null) throw new Stopped('FAILURE', "No such property: ${expression.name}")
                return found
            case PropertyExpression: return property(expression, context, others)
        }
        throw new Unsupported(expression.lineNumber, "${expression.text} is not known as a value")
    }

    private String property(PropertyExpression expression, Context context, Closure others = { null }) {
        if (expression.objectExpression.name == 'currentBuild') return result
        def known = others(expression.propertyAsString)
        known ? known[0] : environment(context)[expression.propertyAsString]
    }

    /** Options and input are read when the build begins, not when their stage does: what is not known by then never is. */
    private void settle(Stage stage) {
        def known = { Expression expression ->
            unknown(expression, conditions.variables).each { name ->
                throw new Unsupported(expression.lineNumber,
                    "Jenkins reads options and input when the build begins, and ${name} is not set by then")
            }
            value(expression, new Context())
        }
        def found = [:]
        if (stage.options.lock) found.resource = known(stage.options.lock.resource)
        if (stage.input != null) found.input = stage.input.collectEntries { key, expression -> [key, known(expression)] }
        if (found) settled[stage] = found
        ((stage.stages ?: []) + (stage.parallel ?: [])).each { settle(it) }
    }

    private static List<String> unknown(Expression expression, Map<String, String> variables) {
        switch (expression) {
            case GStringExpression: return expression.values.collectMany { unknown(it, variables) }
            case VariableExpression: return variables[expression.name] ? [] : [expression.name]
            case PropertyExpression:
                if (expression.objectExpression.name != 'env') return []
                return variables[expression.propertyAsString] ? [] : ["env.${expression.propertyAsString}".toString()]
        }
        []
    }

    // ---- The trace

    private synchronized void worsen(String to) {
        result = worse(result, to)
    }

    private static String worse(String one, String other) {
        Reader.RESULTS.indexOf(other) > Reader.RESULTS.indexOf(one) ? other : one
    }

    private static double seconds(long began) {
        Math.round((System.nanoTime() - began) / 1_000_000) / 1000.0d
    }

    private void tell(String what, Context context, Map<String, Object> more = [:]) {
        Map<String, Object> event = more
        event.what = what
        event.stage = context.stage
        event.agent = context.agent?.label ?: ''
        events << event
        hands.told(event)
    }
}
