package declarative

import org.codehaus.groovy.ast.ModuleNode
import org.codehaus.groovy.ast.expr.*
import org.codehaus.groovy.ast.stmt.*
import org.codehaus.groovy.control.CompilationFailedException
import org.codehaus.groovy.control.CompilationUnit
import org.codehaus.groovy.control.Phases

/**
 * Reads a Jenkinsfile into a Stage. Like Jenkins it checks the whole file, also what no build runs.
 *
 * It supports what our Jenkinsfile uses. Anything else is an error with its line, never skipped.
 * Each rule names what it stands for: a plugin and its class or method. ModelValidatorImpl and
 * RuntimeASTTransformer are of pipeline-model-definition.
 */
class Reader {
    static final Map<String, Integer> UNITS = [SECONDS: 1, MINUTES: 60, HOURS: 3600, DAYS: 86400]
    /** core: hudson.model.Result, from the best to the worst. */
    static final List<String> RESULTS = ['SUCCESS', 'UNSTABLE', 'FAILURE', 'ABORTED']

    /**
     * The parameters of each step, and the plugin and class that have them: the parameter that may
     * come without a name, texts and flags.
     */
    static final Map<String, Map> STEPS = [
        sh: [of: 'workflow-durable-task-step: ShellStep',
            first: 'script', texts: ['script'], flags: ['returnStdout', 'returnStatus']],
        checkout: [of: 'workflow-scm-step: GenericSCMStep', first: 'scm', texts: ['scm']],
        stash: [of: 'workflow-basic-steps: StashStep',
            first: 'name', texts: ['name', 'includes'], flags: ['allowEmpty']],
        unstash: [of: 'workflow-basic-steps: UnstashStep', first: 'name', texts: ['name']],
        junit: [of: 'junit: JUnitResultsStep',
            first: 'testResults', texts: ['testResults'], flags: ['allowEmptyResults']],
        archiveArtifacts: [of: 'core: hudson.tasks.ArtifactArchiver',
            first: 'artifacts', texts: ['artifacts'], flags: ['allowEmptyArchive']],
        recordCoverage: [of: 'coverage: CoverageStep', tools: true, flags: ['enabledForFailure']],
        recordIssues: [of: 'warnings-ng: RecordIssuesStep',
            tools: true, flags: ['enabledForFailure']],
        withCredentials: [of: 'credentials-binding: BindingStep', first: 'bindings', block: true],
        lock: [of: 'lockable-resources: LockStep',
            first: 'resource', texts: ['resource'], block: true],
        timeout: [of: 'workflow-basic-steps: TimeoutStep', block: true],
        node: [of: 'workflow-durable-task-step: ExecutorStep',
            first: 'label', texts: ['label'], block: true],
        catchError: [of: 'workflow-basic-steps: CatchErrorStep',
            texts: ['buildResult', 'stageResult', 'message'], block: true],
        error: [of: 'workflow-basic-steps: ErrorStep', first: 'message', texts: ['message']],
        script: [of: 'pipeline-model-definition: ScriptStep', block: true],
    ]
    /** The reports to read. coverage: CoverageTool.Parser; warnings-ng: Sarif, MyPy. */
    static final List<String> TOOLS = ['COBERTURA', 'sarif', 'myPy']
    /** The parameters of each binding. credentials-binding: StringBinding and the like. */
    static final Map<String, List<String>> BINDINGS = [
        string: ['credentialsId', 'variable'],
        usernamePassword: ['credentialsId', 'usernameVariable', 'passwordVariable'],
        gitUsernamePassword: ['credentialsId'],
    ]
    /** git: GitUsernamePasswordBinding; its GIT_ASKPASS, by which git reads them, is left out. */
    private static final Map<String, String> GIT_LOGIN = [kind: 'usernamePassword',
        usernameVariable: 'GIT_USERNAME', passwordVariable: 'GIT_PASSWORD']

    private final Set<String> names = []

    Stage read(String text) {
        ModuleNode module
        try {
            def unit = new CompilationUnit()
            unit.addSource('Jenkinsfile', text)
            unit.compile(Phases.CONVERSION)
            module = unit.AST.modules[0]
        } catch (CompilationFailedException error) {
            String message = error.message.readLines().findAll { it }.join(' ')
            throw new Unsupported(0, "this is not Groovy: ${message}")
        }
        if (module.imports || module.starImports || module.staticImports || module.methods
            || module.classes.size() > 1) {
            throw new Unsupported(1, 'imports, functions and classes are not supported')
        }
        // An empty script has a `return null` without a line.
        def statements = module.statementBlock.statements.findAll { it.lineNumber > 0 }
        if (statements.size() != 1) {
            int line = statements ? statements[1].lineNumber : 1
            throw new Unsupported(line, 'the file must have one pipeline block and nothing else')
        }
        def call = callOf(statements[0])
        if (call.name != 'pipeline') {
            throw new Unsupported(call.line, "the file must begin with pipeline, not ${call.name}")
        }
        requireSection(call)
        stage(call, '', false)
    }

    /** ModelValidatorImpl.validateElement(ModelASTPipelineDef) and (ModelASTStage). */
    private Stage stage(Call of, String name, boolean withinParallel) {
        boolean root = name == ''
        String what = root ? 'the pipeline' : "stage '${name}'"
        def stage = new Stage(name: name)
        Set<String> sections = []
        statements(of.block).each { statement ->
            def call = callOf(statement)
            if (!sections.add(call.name)) {
                throw new Unsupported(call.line, "${what} has ${call.name} twice")
            }
            if (root && call.name in ['when', 'input', 'steps', 'parallel']) refuse(call, what)
            section(stage, call, root, withinParallel)
        }
        if (root) {
            if (!sections.contains('agent')) {
                throw new Unsupported(of.line, 'the pipeline has no agent')
            }
            if (!stage.stages) throw new Unsupported(of.line, 'the pipeline has no stages')
            return stage
        }
        int bodies = [stage.steps, stage.stages, stage.parallel].count { it != null }
        if (bodies != 1) {
            throw new Unsupported(of.line,
                "${what} needs one of steps, stages and parallel, and has ${bodies}")
        }
        if (stage.parallel != null && sections.contains('agent')) {
            throw new Unsupported(of.line,
                "${what} has parallel stages, Jenkins takes no agent there")
        }
        if (stage.input != null && !stage.options.timeout) {
            throw new Unsupported(of.line, "${what} has an input and no timeout for it")
        }
        stage
    }

    private void section(Stage stage, Call call, boolean root, boolean withinParallel) {
        if (call.name != 'agent') requireSection(call)
        switch (call.name) {
            case 'agent': agent(stage, call); break
            case 'options': options(stage, call, root); break
            case 'environment': variables(stage, call); break
            case 'post': post(stage, call); break
            case 'when': when(stage, call); break
            case 'input': input(stage, call); break
            case 'steps':
                stage.steps = steps(call.block)
                break
            case 'stages':
                stage.stages = children(call, withinParallel)
                break
            case 'parallel':
                if (withinParallel) {
                    throw new Unsupported(call.line, 'Jenkins takes no parallel within a parallel')
                }
                stage.parallel = children(call, true)
                break
            default: refuse(call, root ? 'the pipeline' : "stage '${stage.name}'")
        }
    }

    /** ModelValidatorImpl.validateElement(ModelASTStages): at least one, each with its own name. */
    private List<Stage> children(Call of, boolean withinParallel) {
        def stages = statements(of.block).collect { statement ->
            def call = callOf(statement)
            if (call.name != 'stage') refuse(call, of.name)
            if (call.positional.size() != 1 || call.named || call.block == null) {
                throw new Unsupported(call.line, "a stage is stage('name') { ... }")
            }
            String name = literal(call.positional[0], call.line)
            if (!name) throw new Unsupported(call.line, 'a stage has no name')
            if (!names.add(name)) {
                throw new Unsupported(call.line, "two stages have the name '${name}'")
            }
            stage(call, name, withinParallel)
        }
        if (!stages) throw new Unsupported(of.line, "${of.name} has no stage")
        stages
    }

    // ---- Sections

    /** ModelValidatorImpl.validateElement(ModelASTAgent); agent.impl.None and Label. */
    private static void agent(Stage stage, Call call) {
        if (call.block == null) {
            def what = single(call)
            if (what instanceof VariableExpression && what.name == 'none') return
            throw new Unsupported(call.line, "agent is none or { label '...' }, not ${what.text}")
        }
        def calls = statements(call.block).collect { callOf(it) }
        if (call.positional || call.named || calls*.name != ['label']) {
            throw new Unsupported(call.line, "agent is none or { label '...' }")
        }
        stage.agent = text(single(calls[0]), calls[0].line)
    }

    /** ModelValidatorImpl.validateElement(ModelASTOptions); model.Options and StageOptions. */
    private static void options(Stage stage, Call of, boolean root) {
        statements(of.block).each { statement ->
            def call = callOf(statement)
            String where = root ? "the pipeline's options" : "a stage's options"
            if (!root && !(call.name in ['timeout', 'withCredentials'])) refuse(call, where)
            Map<String, Object> arguments = [:]
            switch (call.name) {
                case 'timeout':
                    arguments.seconds = seconds(call)
                    break
                case 'timestamps':
                case 'disableRestartFromStage':
                    requireNames(call, [])
                    break
                case 'withCredentials':
                    // RuntimeASTTransformer.transformOptions: read when the build begins, before
                    // any variable is set. So are all options.
                    arguments.bindings = bindings(single(call), call.line)
                    break
                case 'disableConcurrentBuilds':
                    requireNames(call, ['abortPrevious'])
                    call.named.each { key, value -> arguments[key] = flag(value, call.line) }
                    break
                case 'buildDiscarder':
                    def rotator = single(call)
                    def inner = rotator instanceof MethodCallExpression ? callOf(rotator) : call
                    if (inner.name != 'logRotator') {
                        throw new Unsupported(call.line, 'buildDiscarder takes logRotator(...)')
                    }
                    requireNames(inner, ['numToKeepStr', 'artifactNumToKeepStr'])
                    inner.named.each { key, value -> arguments[key] = literal(value, inner.line) }
                    break
                default: refuse(call, where)
            }
            if (stage.options.put(call.name, arguments) != null) {
                throw new Unsupported(call.line, "options has ${call.name} twice")
            }
        }
        if (!stage.options) throw new Unsupported(of.line, 'options is empty')
    }

    /** workflow-basic-steps: TimeoutStep, whose unit is minutes by default. */
    private static int seconds(Call call) {
        requireNames(call, ['time', 'unit'], call.name == 'timeout')
        def time = call.named.time
        if (!(time instanceof ConstantExpression) || !(time.value instanceof Integer)) {
            throw new Unsupported(call.line, 'the time of a timeout is a number')
        }
        String unit = call.named.unit ? literal(call.named.unit, call.line) : 'MINUTES'
        if (!UNITS.containsKey(unit)) {
            throw new Unsupported(call.line, "a timeout has no unit ${unit}")
        }
        (time.value as int) * UNITS[unit]
    }

    /** ModelValidatorImpl.validateElement(ModelASTEnvironment); model.Environment. */
    private static void variables(Stage stage, Call of) {
        statements(of.block).each { statement ->
            int line = statement.lineNumber
            def expression = expressionOf(statement)
            def to = isAssignment(expression) ? expression.leftExpression : null
            if (!(to instanceof VariableExpression)) {
                throw new Unsupported(line, "environment has NAME = 'value', not ${statement.text}")
            }
            String name = to.name
            def value = expression.rightExpression
            boolean credential = value instanceof MethodCallExpression
            if (credential) {
                def call = callOf(value)
                if (call.name != 'credentials') refuse(call, 'environment')
                value = single(call)
            } else if (!isText(value)) {
                throw new Unsupported(line,
                    "${name} is a plain text or credentials('...'), not ${value.text}")
            }
            if (stage.environment.any { it.name == name }) {
                throw new Unsupported(line, "environment has ${name} twice")
            }
            stage.environment << new Variable(
                name: name, value: text(value, line), credential: credential)
        }
        if (!stage.environment) throw new Unsupported(of.line, 'environment is empty')
    }

    /** ModelValidatorImpl.validateElement(ModelASTWhen); when.impl.EnvironmentConditional, Not. */
    private static void when(Stage stage, Call of) {
        def when = new When()
        statements(of.block).each { statement ->
            def call = callOf(statement)
            if (call.name in ['beforeInput', 'beforeOptions']) {
                when[call.name] = flag(single(call), call.line)
                return
            }
            boolean negated = call.name == 'not'
            if (negated) {
                requireSection(call)
                def inner = statements(call.block)
                if (inner.size() != 1) {
                    throw new Unsupported(call.line, 'not has one condition')
                }
                call = callOf(inner[0])
            }
            if (call.name != 'environment') refuse(call, 'when')
            requireNames(call, ['name', 'value'])
            def (name, value) = ['name', 'value'].collect { literal(call.named[it], call.line) }
            when.conditions << [name: name, value: value, negated: negated]
        }
        if (!when.conditions) throw new Unsupported(of.line, 'when has no condition')
        stage.when = when
    }

    /** ModelValidatorImpl.validateElement(ModelASTStageInput). */
    private static void input(Stage stage, Call of) {
        stage.input = [:]
        statements(of.block).each { statement ->
            def call = callOf(statement)
            if (!(call.name in ['message', 'ok', 'submitter', 'submitterParameter'])) {
                refuse(call, 'input')
            }
            // RuntimeASTTransformer.transformStageInput: read when the build begins, as options.
            if (stage.input.put(call.name, literal(single(call), call.line)) != null) {
                throw new Unsupported(call.line, "input has ${call.name} twice")
            }
        }
        if (!stage.input.message) throw new Unsupported(of.line, 'input has no message')
    }

    /** ModelValidatorImpl.validateElement(ModelASTBuildConditionsContainer). */
    private static void post(Stage stage, Call of) {
        def calls = statements(of.block).collect { callOf(it) }
        def other = calls.find { it.name != 'always' }
        if (other) refuse(other, 'post')
        if (calls.size() != 1) throw new Unsupported(of.line, 'post has one block, always')
        requireSection(calls[0])
        stage.always = steps(calls[0].block)
    }

    // ---- Steps

    private static List<Step> steps(ClosureExpression block) {
        def steps = statements(block).collect { step(callOf(it)) }
        if (!steps) throw new Unsupported(block.lineNumber, 'this block has no step')
        steps
    }

    /** ModelValidatorImpl.validateElement(ModelASTStep), validateDescribable. */
    private static Step step(Call call) {
        def known = STEPS[call.name]
        if (known == null) throw new Unsupported(call.line, "step ${call.name} is not supported")
        def given = new LinkedHashMap<String, Expression>(call.named)
        if (known.first && call.positional.size() == 1 && !call.named) {
            given[known.first] = call.positional[0]
        } else if (call.positional) {
            throw new Unsupported(call.line, "step ${call.name} needs the names of its parameters")
        }
        if (known.first && !given[known.first]) {
            throw new Unsupported(call.line, "step ${call.name} needs ${known.first}")
        }
        if ((known.block ?: false) != (call.block != null)) {
            throw new Unsupported(call.line,
                "step ${call.name} ${known.block ? 'needs a' : 'has no'} block")
        }
        def step = new Step(name: call.name)
        if (call.name == 'timeout') {
            step.arguments.seconds = seconds(call)
            given.clear()
        }
        given.each { key, value ->
            if (key in known.flags) step.arguments[key] = flag(value, call.line)
            else if (key in known.texts) step.arguments[key] = text(value, call.line)
            else if (key == 'tools' && known.tools) step.arguments[key] = tools(value, call.line)
            else if (key == 'bindings' && known.first == key) {
                step.arguments[key] = bindings(value, call.line)
            } else {
                throw new Unsupported(call.line, "step ${call.name} has no parameter ${key} here")
            }
        }
        if (known.tools && !step.arguments.tools) {
            throw new Unsupported(call.line, "step ${call.name} needs tools")
        }
        if (call.name == 'checkout' && given.scm.text != 'scm') {
            throw new Unsupported(call.line, 'only checkout scm is supported')
        }
        if (call.name == 'catchError') {
            ['buildResult', 'stageResult'].findAll { given[it] }.each { key ->
                if (!(literal(given[key], call.line) in RESULTS)) {
                    throw new Unsupported(call.line, "${key} is one of ${RESULTS.join(', ')}")
                }
            }
        }
        if (call.name == 'script') step.body = statements(call.block).collect { scripted(it) }
        else if (known.block) step.body = steps(call.block)
        step
    }

    /** In a script: `if (env.NAME != 'text' && ...) { steps }`, or an assignment. */
    private static Step scripted(Statement statement) {
        if (!(statement instanceof IfStatement)) return assignment(statement)
        int line = statement.lineNumber
        if (!(statement.elseBlock instanceof EmptyStatement)) {
            throw new Unsupported(line, 'a script has no else')
        }
        new Step(
            name: 'if', body: statement.ifBlock.statements.collect { step(callOf(it)) },
            arguments: [unless: unequal(statement.booleanExpression.expression, line)])
    }

    /** The conditions of an `if`: the name of each variable, and what its value must not be. */
    private static List<Map<String, String>> unequal(Expression test, int line) {
        String operation = test instanceof BinaryExpression ? test.operation.text : ''
        if (operation == '&&') {
            return unequal(test.leftExpression, line) + unequal(test.rightExpression, line)
        }
        def of = operation == '!=' ? test.leftExpression : null
        if (!(of instanceof PropertyExpression) || of.objectExpression.text != 'env') {
            throw new Unsupported(line, "if has env.NAME != 'text', not ${test.text}")
        }
        [[name: of.propertyAsString, value: literal(test.rightExpression, line)]]
    }

    /** env.NAME = a text, or what sh returns. workflow-cps: EnvActionImpl.setProperty. */
    private static Step assignment(Statement statement) {
        int line = statement.lineNumber
        def expression = expressionOf(statement)
        def to = isAssignment(expression) ? expression.leftExpression : null
        if (!(to instanceof PropertyExpression) || to.objectExpression.text != 'env') {
            throw new Unsupported(line, "a script has env.NAME = value, not ${statement.text}")
        }
        def value = expression.rightExpression
        if (!(value instanceof MethodCallExpression)) {
            def arguments = [name: to.propertyAsString, value: text(value, line)]
            return new Step(name: '=', arguments: arguments)
        }
        def inner = value.objectExpression
        boolean trimmed = value.methodAsString == 'trim' && inner instanceof MethodCallExpression
        def sh = trimmed || value.implicitThis ? step(callOf(trimmed ? inner : value)) : null
        String returned = trimmed ? 'returnStdout' : 'returnStatus'
        if (sh?.name != 'sh' || sh.arguments.keySet() != ['script', returned] as Set) {
            throw new Unsupported(line, 'a script may call sh(script: ..., returnStatus: true) or '
                + "sh(script: ..., returnStdout: true).trim(), not ${value.text}")
        }
        new Step(name: '=', arguments: [name: to.propertyAsString, value: sh])
    }

    private static List<Map<String, String>> bindings(Expression value, int line) {
        if (!(value instanceof ListExpression) || !value.expressions) {
            throw new Unsupported(line, 'withCredentials takes a list')
        }
        value.expressions.collect { item ->
            def call = item instanceof MethodCallExpression ? callOf(item) : null
            def names = BINDINGS[call?.name]
            if (names == null) {
                throw new Unsupported(line, "${item.text} is not supported in withCredentials")
            }
            requireNames(call, names)
            def binding = names.collectEntries { [it, literal(call.named[it], call.line)] }
            binding + (call.name == 'gitUsernamePassword' ? GIT_LOGIN : [kind: call.name])
        }
    }

    /** The reports to read, `[parser: NAME, pattern: PATHS]` or `NAME(pattern: PATHS)`, by name. */
    private static Map<String, String> tools(Expression value, int line) {
        if (!(value instanceof ListExpression)) throw new Unsupported(line, 'tools is a list')
        value.expressions.collectEntries { item ->
            Map<String, Expression> named = [:]
            String name
            if (item instanceof MapExpression) {
                item.mapEntryExpressions.each {
                    named[literal(it.keyExpression, line)] = it.valueExpression
                }
                name = literal(named.remove('parser'), line)
            } else {
                def call = item instanceof MethodCallExpression ? callOf(item) : null
                name = call?.name
                named = call?.named
            }
            if (!(name in TOOLS) || named.keySet() != ['pattern'] as Set) {
                throw new Unsupported(line, "${item.text} is not supported in tools")
            }
            [name, literal(named.pattern, line)]
        }
    }

    // ---- Syntax

    private static List<Statement> statements(ClosureExpression block) {
        if (block.parameters) throw new Unsupported(block.lineNumber, 'a block has no parameters')
        def code = block.code
        code instanceof BlockStatement ? code.statements : [code]
    }

    private static Expression expressionOf(Statement statement) {
        statement instanceof ExpressionStatement ? statement.expression : null
    }

    private static boolean isAssignment(Expression expression) {
        expression instanceof BinaryExpression && expression.operation.text == '='
    }

    private static Call callOf(Statement statement) {
        def expression = expressionOf(statement)
        if (!(expression instanceof MethodCallExpression)) {
            throw new Unsupported(statement.lineNumber,
                "a section or a step is expected, not ${statement.text}")
        }
        callOf(expression)
    }

    private static Call callOf(MethodCallExpression expression) {
        if (!expression.implicitThis || !(expression.method instanceof ConstantExpression)) {
            throw new Unsupported(expression.lineNumber,
                "${expression.text} is a call on an object")
        }
        def call = new Call(name: expression.methodAsString, line: expression.lineNumber)
        def arguments = expression.arguments instanceof TupleExpression
            ? expression.arguments.expressions : [expression.arguments]
        arguments.each { argument ->
            if (argument instanceof ClosureExpression && argument.is(arguments.last())) {
                call.block = argument
            } else if (argument instanceof MapExpression) {
                argument.mapEntryExpressions.each { entry ->
                    call.named[literal(entry.keyExpression, call.line)] = entry.valueExpression
                }
            } else {
                call.positional << argument
            }
        }
        call
    }

    private static void refuse(Call call, String where) {
        throw new Unsupported(call.line, "${call.name} is not supported in ${where}")
    }

    /** A section has a block and nothing else. */
    private static void requireSection(Call call) {
        if (call.block == null || call.positional || call.named) {
            throw new Unsupported(call.line, "${call.name} is ${call.name} { ... }")
        }
    }

    private static Expression single(Call call) {
        if (call.positional.size() != 1 || call.named || call.block != null) {
            throw new Unsupported(call.line, "${call.name} takes one value")
        }
        call.positional[0]
    }

    private static void requireNames(Call call, List<String> names, boolean block = false) {
        if (call.positional || call.block != null && !block || call.named.keySet() - names) {
            throw new Unsupported(call.line, "${call.name} takes only ${names ?: 'no parameters'}")
        }
    }

    private static boolean isText(Expression value) {
        value instanceof ConstantExpression && value.value instanceof String
    }

    private static String literal(Expression value, int line) {
        if (isText(value)) return value.value
        throw new Unsupported(line, "a plain text is expected, not ${value?.text}")
    }

    private static boolean flag(Expression value, int line) {
        def flag = value instanceof ConstantExpression ? value.value : null
        if (flag instanceof Boolean) return flag
        throw new Unsupported(line, "true or false is expected, not ${value?.text}")
    }

    /** A text, maybe with values in it; or a variable, env.NAME or currentBuild.currentResult. */
    private static Expression text(Expression value, int line) {
        if (isText(value) || value instanceof VariableExpression) return value
        if (value instanceof GStringExpression) {
            value.values.each { text(it, line) }
            return value
        }
        if (value instanceof PropertyExpression) {
            boolean ofEnv = value.objectExpression.text == 'env'
            if (ofEnv || value.text == 'currentBuild.currentResult') return value
        }
        throw new Unsupported(line, "${value?.text} is not supported as a value")
    }
}
