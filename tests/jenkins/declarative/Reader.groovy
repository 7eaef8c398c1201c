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
 */
class Reader {
    static final Map<String, Integer> UNITS = [SECONDS: 1, MINUTES: 60, HOURS: 3600, DAYS: 86400]
    /** From the best to the worst. */
    static final List<String> RESULTS = ['SUCCESS', 'UNSTABLE', 'FAILURE', 'ABORTED']

    /** The parameters of each step: the one that may come without a name, texts and flags. */
    static final Map<String, Map> STEPS = [
        sh: [first: 'script', texts: ['script'], flags: ['returnStdout']],
        checkout: [first: 'scm', texts: ['scm'], flags: []],
        stash: [first: 'name', texts: ['name', 'includes'], flags: ['allowEmpty']],
        unstash: [first: 'name', texts: ['name'], flags: []],
        junit: [first: 'testResults', texts: ['testResults'], flags: ['allowEmptyResults']],
        archiveArtifacts: [first: 'artifacts', texts: ['artifacts'], flags: ['allowEmptyArchive']],
        withCredentials: [first: 'bindings', texts: [], flags: [], block: true],
        node: [first: 'label', texts: ['label'], flags: [], block: true],
        catchError: [texts: ['buildResult', 'stageResult', 'message'], flags: [], block: true],
        script: [texts: [], flags: [], block: true],
    ]

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

    private static void options(Stage stage, Call of, boolean root) {
        statements(of.block).each { statement ->
            def call = callOf(statement)
            String where = root ? "the pipeline's options" : "a stage's options"
            boolean misplaced = root ? call.name == 'lock'
                : call.name in ['disableConcurrentBuilds', 'buildDiscarder', 'timestamps']
            if (misplaced) refuse(call, where)
            Map<String, Object> arguments = [:]
            switch (call.name) {
                case 'timeout':
                    arguments.seconds = seconds(call)
                    break
                case 'timestamps':
                    requireNames(call, [])
                    break
                case 'lock':
                    requireNames(call, ['resource'])
                    // Jenkins reads options when the build begins: no variable is set yet.
                    arguments.resource = literal(call.named.resource, call.line)
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

    private static int seconds(Call call) {
        requireNames(call, ['time', 'unit'])
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
            }
            if (!(value instanceof GStringExpression) && !isText(value)) {
                throw new Unsupported(line,
                    "${name} is a text in quotes or credentials('...'), not ${value.text}")
            }
            // Jenkins orders them by use; the runner keeps the order of the file.
            def others = stage.environment.findAll { !it.credential }*.name + [name]
            if (value instanceof GStringExpression && value.values.any { it.text in others }) {
                throw new Unsupported(line, "${name} uses a variable of the same block")
            }
            if (stage.environment.any { it.name == name }) {
                throw new Unsupported(line, "environment has ${name} twice")
            }
            stage.environment << new Variable(
                name: name, value: text(value, line), credential: credential)
        }
        if (!stage.environment) throw new Unsupported(of.line, 'environment is empty')
    }

    private static void when(Stage stage, Call of) {
        def when = new When()
        statements(of.block).each { statement ->
            def call = callOf(statement)
            if (call.name in ['beforeInput', 'beforeOptions']) {
                when[call.name] = flag(single(call), call.line)
            } else if (call.name == 'environment') {
                requireNames(call, ['name', 'value'])
                def (name, value) = ['name', 'value'].collect { literal(call.named[it], call.line) }
                if (when.conditions.put(name, value) != null) {
                    throw new Unsupported(call.line, "when has ${name} twice")
                }
            } else {
                refuse(call, 'when')
            }
        }
        if (!when.conditions) throw new Unsupported(of.line, 'when has no condition')
        stage.when = when
    }

    private static void input(Stage stage, Call of) {
        stage.input = [:]
        statements(of.block).each { statement ->
            def call = callOf(statement)
            if (!(call.name in ['message', 'ok', 'submitter', 'submitterParameter'])) {
                refuse(call, 'input')
            }
            // Jenkins reads the input when the build begins: no variable is set yet.
            if (stage.input.put(call.name, literal(single(call), call.line)) != null) {
                throw new Unsupported(call.line, "input has ${call.name} twice")
            }
        }
        if (!stage.input.message) throw new Unsupported(of.line, 'input has no message')
    }

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
        given.each { key, value ->
            if (key in known.flags) step.arguments[key] = flag(value, call.line)
            else if (key in known.texts) step.arguments[key] = text(value, call.line)
            else if (key != 'bindings') {
                throw new Unsupported(call.line, "step ${call.name} has no parameter ${key} here")
            }
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
        if (call.name == 'withCredentials') {
            step.arguments.bindings = bindings(given.bindings, call.line)
        }
        if (call.name == 'script') step.body = statements(call.block).collect { assignment(it) }
        else if (known.block) step.body = steps(call.block)
        step
    }

    /** In a script: env.NAME = a text, or the trimmed output of sh. */
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
        def sh = trimmed ? step(callOf(inner)) : null
        if (sh?.name != 'sh' || !sh.arguments.returnStdout) {
            throw new Unsupported(line,
                "a script may call sh(script: ..., returnStdout: true).trim(), not ${value.text}")
        }
        new Step(name: '=', arguments: [name: to.propertyAsString, value: sh])
    }

    private static List<Map<String, String>> bindings(Expression value, int line) {
        if (!(value instanceof ListExpression) || !value.expressions) {
            throw new Unsupported(line, 'withCredentials takes a list')
        }
        value.expressions.collect { item ->
            def call = item instanceof MethodCallExpression ? callOf(item) : null
            if (call?.name != 'string') {
                throw new Unsupported(line, "${item.text} is not supported in withCredentials")
            }
            requireNames(call, ['credentialsId', 'variable'])
            ['credentialsId', 'variable'].collectEntries {
                [it, literal(call.named[it], call.line)]
            }
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

    private static void requireNames(Call call, List<String> names) {
        if (call.positional || call.block != null || call.named.keySet() - names) {
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
