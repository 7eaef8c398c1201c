package declarative

import org.codehaus.groovy.ast.ModuleNode
import org.codehaus.groovy.ast.expr.*
import org.codehaus.groovy.ast.stmt.*
import org.codehaus.groovy.control.CompilationFailedException
import org.codehaus.groovy.control.CompilationUnit
import org.codehaus.groovy.control.Phases

/**
 * Reads a Jenkinsfile into the model and checks the whole of it, also what no build would reach, as Jenkins does at load.
 *
 * Nothing is skipped: what is not listed here is refused with its line.
 */
class Reader {
    static final Map<String, Integer> UNITS = [SECONDS: 1, MINUTES: 60, HOURS: 3600, DAYS: 86400]
    static final List<String> RESULTS = ['SUCCESS', 'UNSTABLE', 'FAILURE', 'ABORTED']
    /** In Jenkins' order. */
    static final List<String> POST = ['always', 'aborted', 'failure', 'success', 'unstable', 'unsuccessful', 'cleanup']

    /** Of each step: what stands without a name, what is text, what is true or false, and whether it has a block. */
    static final Map<String, Map> STEPS = [
        sh: [first: 'script', texts: ['script', 'label'], flags: ['returnStdout', 'returnStatus']],
        echo: [first: 'message', texts: ['message'], flags: []],
        error: [first: 'message', texts: ['message'], flags: []],
        checkout: [first: 'scm', texts: ['scm'], flags: []],
        stash: [first: 'name', texts: ['name', 'includes', 'excludes'], flags: ['allowEmpty', 'useDefaultExcludes']],
        unstash: [first: 'name', texts: ['name'], flags: []],
        junit: [first: 'testResults', texts: ['testResults'], flags: ['allowEmptyResults']],
        archiveArtifacts: [first: 'artifacts', texts: ['artifacts', 'excludes'], flags: ['allowEmptyArchive', 'fingerprint']],
        withCredentials: [first: 'bindings', texts: [], flags: [], block: true],
        node: [first: 'label', texts: ['label'], flags: [], block: true],
        lock: [first: 'resource', texts: ['resource'], flags: [], block: true],
        timeout: [first: 'time', texts: ['unit'], flags: [], numbers: ['time'], block: true],
        catchError: [texts: ['buildResult', 'stageResult', 'message'], flags: ['catchInterruptions'], block: true, may: true],
        script: [texts: [], flags: [], block: true, may: true],
    ]
    static final Map<String, List<String>> BINDINGS = [
        string: ['credentialsId', 'variable'],
        file: ['credentialsId', 'variable'],
        usernamePassword: ['credentialsId', 'usernameVariable', 'passwordVariable'],
    ]
    static final Map<String, List<String>> CONDITIONS = [
        environment: ['name', 'value'],
        not: [],
        anyOf: [],
        allOf: [],
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
            throw new Unsupported(0, "this is not Groovy: ${error.message.readLines().findAll { it }.join(' ')}")
        }
        if (module.imports || module.starImports || module.staticImports || module.methods || module.classes.size() > 1) {
            throw new Unsupported(1, 'only a pipeline block is known: no imports, functions or classes')
        }
        // Groovy lets a script that has nothing return nothing, on no line.
        def statements = module.statementBlock.statements.findAll { it.lineNumber > 0 }
        if (statements.size() != 1) {
            throw new Unsupported(statements ? statements[1].lineNumber : 1, 'only one pipeline block is known, and nothing beside it')
        }
        def call = written(statements[0])
        if (call.name != 'pipeline') {
            throw new Unsupported(call.line, "the file has to begin with pipeline, not ${call.name}")
        }
        plain(call)
        stage(call, '', false)
    }

    private Stage stage(Call of, String name, boolean withinParallel) {
        boolean root = name == ''
        String what = root ? 'the pipeline' : "stage '${name}'"
        def stage = new Stage(name: name, line: of.line)
        Set<String> seen = []
        statements(of.block).each { statement ->
            def call = written(statement)
            if (!seen.add(call.name)) {
                throw new Unsupported(call.line, "${what} has ${call.name} twice")
            }
            switch (call.name) {
                case 'agent': agent(stage, call); break
                case 'options': options(stage, call, root); break
                case "environment": variables(stage, call); break
                case 'post': post(stage, call); break
                case 'stages':
                    plain(call)
                    stage.stages = children(call, withinParallel)
                    break
                case 'when': root ? refuse(call, what) : when(stage, call); break
                case 'input': root ? refuse(call, what) : input(stage, call); break
                case 'steps':
                    if (root) refuse(call, what)
                    plain(call)
                    stage.steps = steps(call.block, false)
                    break
                case 'parallel':
                    if (root) refuse(call, what)
                    plain(call)
                    if (withinParallel) {
                        throw new Unsupported(call.line, 'Jenkins takes no parallel within a parallel')
                    }
                    stage.parallel = children(call, true)
                    break
                default: refuse(call, what)
            }
        }
        if (root) {
            if (!seen.contains('agent')) throw new Unsupported(of.line, 'the pipeline has no agent')
            if (!stage.stages) throw new Unsupported(of.line, 'the pipeline has no stages')
            return stage
        }
        int bodies = [stage.steps, stage.stages, stage.parallel].count { it != null }
        if (bodies != 1) {
            throw new Unsupported(of.line, "${what} needs one of steps, stages and parallel, and has ${bodies}")
        }
        if (stage.parallel != null && seen.contains('agent')) {
            throw new Unsupported(of.line, "${what} has parallel stages, so that Jenkins takes no agent there")
        }
        stage
    }

    private static void refuse(Call call, String where) {
        throw new Unsupported(call.line, "${call.name} is not known in ${where}")
    }

    private List<Stage> children(Call of, boolean withinParallel) {
        def found = statements(of.block).collect { statement ->
            def call = written(statement)
            if (call.name != 'stage') refuse(call, of.name)
            if (call.positional.size() != 1 || call.named || call.block == null) {
                throw new Unsupported(call.line, "a stage is written stage('name') { ... }")
            }
            String name = literal(call.positional[0], call.line)
            if (!name || !names.add(name)) {
                throw new Unsupported(call.line, name ? "there are two stages called '${name}'" : 'a stage has no name')
            }
            stage(call, name, withinParallel)
        }
        if (!found) throw new Unsupported(of.line, "${of.name} has no stage")
        found
    }

    private static void agent(Stage stage, Call call) {
        if (call.block == null) {
            def what = single(call)
            if (what instanceof VariableExpression && what.name == 'none') return
            throw new Unsupported(call.line, "agent is none, or { label '...' }, not ${what.text}")
        }
        if (call.positional || call.named) throw new Unsupported(call.line, "agent is none, or { label '...' }")
        def inner = statements(call.block).collect { written(it) }
        if (inner.size() != 1 || inner[0].name != 'label') {
            def wrong = inner.find { it.name != 'label' }
            throw new Unsupported(wrong ? wrong.line : call.line, "agent { ${wrong ? wrong.name : ''} } is not known, only label")
        }
        stage.agent = text(single(inner[0]), inner[0].line)
    }

    private static void options(Stage stage, Call of, boolean root) {
        plain(of)
        statements(of.block).each { statement ->
            def call = written(statement)
            if (stage.options.containsKey(call.name)) throw new Unsupported(call.line, "option ${call.name} is there twice")
            if (call.block != null) throw new Unsupported(call.line, "option ${call.name} has no block")
            Map<String, Object> arguments = [line: call.line]
            switch (call.name) {
                case 'timeout':
                    arguments.seconds = seconds(call)
                    break
                case 'timestamps':
                    known(call, [])
                    break
                case 'lock':
                    if (root) refuse(call, "the pipeline's options")
                    arguments.resource = text(first(call, 'resource', []), call.line)
                    break
                case 'disableConcurrentBuilds':
                    if (!root) refuse(call, "a stage's options")
                    known(call, ['abortPrevious'])
                    call.named.each { key, value -> arguments[key] = flag(value, call.line) }
                    break
                case 'buildDiscarder':
                    if (!root) refuse(call, "a stage's options")
                    def rotator = single(call)
                    if (!(rotator instanceof MethodCallExpression)) throw new Unsupported(call.line, 'buildDiscarder takes logRotator(...)')
                    def inner = called(rotator)
                    if (inner.name != 'logRotator') refuse(inner, 'buildDiscarder')
                    known(inner, ['numToKeepStr', 'artifactNumToKeepStr', 'daysToKeepStr', 'artifactDaysToKeepStr'])
                    inner.named.each { key, value -> arguments[key] = literal(value, inner.line) }
                    break
                default: refuse(call, root ? "the pipeline's options" : "a stage's options")
            }
            stage.options[call.name] = arguments
        }
        if (!stage.options) throw new Unsupported(of.line, 'options is empty')
    }

    private static int seconds(Call call) {
        known(call, ['time', 'unit'], ['time'])
        def time = call.positional ? call.positional[0] : call.named.time
        if (!(time instanceof ConstantExpression) || !(time.value instanceof Integer)) {
            throw new Unsupported(call.line, 'a timeout has a time, which is a number')
        }
        String unit = call.named.unit ? literal(call.named.unit, call.line) : 'MINUTES'
        if (!UNITS.containsKey(unit)) throw new Unsupported(call.line, "a timeout's unit is one of ${UNITS.keySet().join(', ')}, not ${unit}")
        (time.value as int) * UNITS[unit]
    }

    private static void variables(Stage stage, Call of) {
        plain(of)
        statements(of.block).each { statement ->
            def expression = statement instanceof ExpressionStatement ? statement.expression : null
            if (!(expression instanceof BinaryExpression) || expression.operation.text != '=' || !(expression.leftExpression instanceof VariableExpression)) {
                throw new Unsupported(statement.lineNumber, "environment has NAME = 'value', not ${statement.text}")
            }
            String name = expression.leftExpression.name
            if (!(name ==~ /[A-Za-z_][A-Za-z0-9_]*/)) throw new Unsupported(statement.lineNumber, "${name} is no variable's name")
            if (stage.environment.any { it.name == name }) throw new Unsupported(statement.lineNumber, "environment has ${name} twice")
            def value = expression.rightExpression
            boolean credential = value instanceof MethodCallExpression
            if (credential) {
                def call = called(value)
                if (call.name != 'credentials') refuse(call, 'environment')
                value = single(call)
            }
            if (!(value instanceof GStringExpression || (value instanceof ConstantExpression && value.value instanceof String))) {
                throw new Unsupported(statement.lineNumber, "${name} is given a text in quotes or credentials('...'), not ${value.text}")
            }
            stage.environment << new Variable(
                name: name, line: statement.lineNumber, value: text(value, statement.lineNumber), credential: credential)
        }
        if (!stage.environment) throw new Unsupported(of.line, 'environment is empty')
    }

    private void when(Stage stage, Call of) {
        plain(of)
        def found = new When()
        statements(of.block).each { statement ->
            def call = written(statement)
            if (call.name in ['beforeAgent', 'beforeInput', 'beforeOptions']) {
                found[call.name] = flag(single(call), call.line)
            } else {
                found.conditions << condition(call)
            }
        }
        if (!found.conditions) throw new Unsupported(of.line, 'when has no condition')
        stage.when = found
    }

    private Condition condition(Call call) {
        if (call.name in ['changeset', 'changelog']) {
            throw new Unsupported(call.line, "${call.name} is refused: it is empty on a branch's first build; inv plan decides what is built")
        }
        if (!CONDITIONS.containsKey(call.name)) refuse(call, 'when')
        def found = new Condition(name: call.name, line: call.line)
        switch (call.name) {
            case ['not', 'anyOf', 'allOf']:
                plain(call)
                found.children = statements(call.block).collect { condition(written(it)) }
                if (!found.children) throw new Unsupported(call.line, "${call.name} has no condition")
                if (call.name == 'not' && found.children.size() != 1) throw new Unsupported(call.line, 'not takes one condition')
                break
            default:
                if (call.block != null) throw new Unsupported(call.line, "${call.name} has no block")
                known(call, CONDITIONS[call.name])
                call.named.each { key, value -> found.arguments[key] = text(value, call.line) }
                if (found.arguments.size() != 2) throw new Unsupported(call.line, 'the condition environment has a name and a value')
        }
        found
    }

    private static void input(Stage stage, Call of) {
        plain(of)
        stage.inputLine = of.line
        stage.input = [:]
        statements(of.block).each { statement ->
            def call = written(statement)
            if (!(call.name in ['message', 'ok', 'submitter', 'submitterParameter', 'id'])) refuse(call, 'input')
            if (stage.input.containsKey(call.name)) throw new Unsupported(call.line, "input has ${call.name} twice")
            stage.input[call.name] = text(single(call), call.line)
        }
        if (!stage.input.message) throw new Unsupported(of.line, 'input has no message')
    }

    private static void post(Stage stage, Call of) {
        plain(of)
        statements(of.block).each { statement ->
            def call = written(statement)
            if (!(call.name in POST)) refuse(call, 'post')
            if (stage.post.containsKey(call.name)) throw new Unsupported(call.line, "post has ${call.name} twice")
            plain(call)
            stage.post[call.name] = steps(call.block, false)
        }
        if (!stage.post) throw new Unsupported(of.line, 'post is empty')
    }

    private static List<Step> steps(ClosureExpression block, boolean script) {
        def found = statements(block).collect { statement -> script ? scripted(statement) : step(written(statement), false) }
        if (!found) throw new Unsupported(block.lineNumber, 'there is no step in this block')
        found
    }

    /** In a script block: env.NAME = value, or sh. */
    private static Step scripted(Statement statement) {
        def expression = statement instanceof ExpressionStatement ? statement.expression : null
        if (expression instanceof BinaryExpression && expression.operation.text == '=') {
            def to = expression.leftExpression
            if (to instanceof PropertyExpression && to.objectExpression instanceof VariableExpression && to.objectExpression.name == 'env') {
                return new Step(name: '=', line: statement.lineNumber,
                    arguments: [name: to.propertyAsString, value: computed(expression.rightExpression, statement.lineNumber)])
            }
        }
        if (expression instanceof MethodCallExpression && expression.implicitThis && expression.methodAsString == 'sh') {
            return step(called(expression), true)
        }
        throw new Unsupported(statement.lineNumber, "a script has env.NAME = value and sh, not ${statement.text}")
    }

    /** What env.NAME may be given: a text, or what sh says. */
    private static Object computed(Expression value, int line) {
        if (value instanceof MethodCallExpression) {
            if (!value.implicitThis && value.methodAsString == 'trim' && !value.arguments.expressions) {
                return [trim: computed(value.objectExpression, line)]
            }
            def asked = value.implicitThis ? step(called(value), true) : null
            if (asked?.name == 'sh' && (asked.arguments.returnStdout || asked.arguments.returnStatus)) return [sh: asked]
            throw new Unsupported(line, "a script may ask sh(script: ..., returnStdout: true), not ${value.text}")
        }
        text(value, line)
    }

    private static Step step(Call call, boolean script) {
        def known = STEPS[call.name]
        if (known == null) throw new Unsupported(call.line, "step ${call.name} is not known")
        List<String> keys = known.texts + known.flags + (known.numbers ?: []) + (call.name == 'withCredentials' ? ['bindings'] : [])
        Reader.known(call, keys, known.first ? [known.first] : [])
        if (known.block && call.block == null) throw new Unsupported(call.line, "step ${call.name} needs a block")
        if (!known.block && call.block != null) throw new Unsupported(call.line, "step ${call.name} has no block")
        def step = new Step(name: call.name, line: call.line)
        Map<String, Expression> given = new LinkedHashMap<String, Expression>(call.named)
        if (call.positional) given[known.first] = call.positional[0]
        if (!known.may && !given.containsKey(known.first)) throw new Unsupported(call.line, "step ${call.name} needs ${known.first}")
        given.each { key, value ->
            if (key in known.flags) step.arguments[key] = flag(value, call.line)
            else if (key in known.texts) step.arguments[key] = text(value, call.line)
        }
        switch (call.name) {
            case 'checkout':
                if (!(given.scm instanceof VariableExpression) || given.scm.name != 'scm') {
                    throw new Unsupported(call.line, 'only checkout scm is known')
                }
                break
            case 'timeout':
                step.arguments.seconds = seconds(call)
                break
            case 'catchError':
                ['buildResult', 'stageResult'].findAll { given[it] }.each { key ->
                    if (!(literal(given[key], call.line) in RESULTS)) throw new Unsupported(call.line, "${key} is one of ${RESULTS.join(', ')}")
                }
                break
            case 'sh':
                if (step.arguments.returnStdout && step.arguments.returnStatus) {
                    throw new Unsupported(call.line, 'sh returns its output or its status, not both')
                }
                break
            case 'withCredentials':
                step.arguments.bindings = bindings(given.bindings, call.line)
                break
        }
        if (known.block) step.body = steps(call.block, call.name == 'script')
        step
    }

    private static List<Map<String, Object>> bindings(Expression value, int line) {
        if (!(value instanceof ListExpression) || !value.expressions) throw new Unsupported(line, 'withCredentials takes a list')
        value.expressions.collect { item ->
            if (!(item instanceof MethodCallExpression)) throw new Unsupported(line, "${item.text} is no binding of a credential")
            def call = called(item)
            def keys = BINDINGS[call.name]
            if (keys == null) refuse(call, 'withCredentials')
            known(call, keys)
            def missing = keys - call.named.keySet()
            if (missing) throw new Unsupported(call.line, "${call.name} needs ${missing.join(', ')}")
            [kind: call.name] + call.named.collectEntries { key, expression -> [key, text(expression, call.line)] }
        }
    }

    // ---- What Groovy made of the text

    static List<Statement> statements(ClosureExpression block) {
        if (block.parameters) throw new Unsupported(block.lineNumber, 'a block has no parameters')
        def code = block.code
        code instanceof BlockStatement ? code.statements : [code]
    }

    static Call written(Statement statement) {
        def expression = statement instanceof ExpressionStatement ? statement.expression : null
        if (!(expression instanceof MethodCallExpression)) {
            throw new Unsupported(statement.lineNumber, "a section or a step is expected, not ${statement.text}")
        }
        called(expression)
    }

    static Call called(MethodCallExpression expression) {
        if (!expression.implicitThis || !(expression.method instanceof ConstantExpression)) {
            throw new Unsupported(expression.lineNumber, "${expression.text} is a call on an object")
        }
        def call = new Call(name: expression.methodAsString, line: expression.lineNumber)
        def arguments = expression.arguments instanceof TupleExpression ? expression.arguments.expressions : [expression.arguments]
        arguments.eachWithIndex { argument, at ->
            if (argument instanceof ClosureExpression && at == arguments.size() - 1) {
                call.block = argument
            } else if (argument instanceof MapExpression) {
                argument.mapEntryExpressions.each { entry -> call.named[literal(entry.keyExpression, call.line)] = entry.valueExpression }
            } else {
                call.positional << argument
            }
        }
        call
    }

    /** A section: a block and nothing else. */
    static void plain(Call call) {
        if (call.block == null || call.positional || call.named) throw new Unsupported(call.line, "${call.name} is written ${call.name} { ... }")
    }

    static Expression single(Call call) {
        if (call.positional.size() != 1 || call.named || call.block != null) throw new Unsupported(call.line, "${call.name} takes one value")
        call.positional[0]
    }

    static Expression first(Call call, String name, List<String> others) {
        known(call, [name] + others, [name])
        def value = call.positional ? call.positional[0] : call.named[name]
        if (value == null) throw new Unsupported(call.line, "${call.name} needs ${name}")
        value
    }

    static void known(Call call, List<String> keys, List<String> unnamed = []) {
        def strange = call.named.keySet() - keys
        if (strange) throw new Unsupported(call.line, "${call.name} has no parameter ${strange.first()} here, only ${keys.join(', ')}")
        if (call.positional.size() > unnamed.size() || (call.positional && call.named)) {
            throw new Unsupported(call.line, "${call.name} has its parameters by name: ${keys.join(', ')}")
        }
    }

    static String literal(Expression value, int line) {
        if (value instanceof ConstantExpression && value.value instanceof String) return value.value
        throw new Unsupported(line, "a plain text is expected, not ${value?.text}")
    }

    static boolean flag(Expression value, int line) {
        if (value instanceof ConstantExpression && value.value instanceof Boolean) return value.value
        throw new Unsupported(line, "true or false is expected, not ${value?.text}")
    }

    /** A text, a text with values in it, or one value: a variable, env.NAME, currentBuild.currentResult. */
    static Expression text(Expression value, int line) {
        switch (value) {
            case ConstantExpression:
                if (value.value instanceof String) return value
                break
            case GStringExpression:
                value.values.each { text(it, line) }
                return value
            case VariableExpression:
                if (value.name ==~ /[A-Za-z_][A-Za-z0-9_]*/) return value
                break
            case PropertyExpression:
                def of = value.objectExpression
                if (of instanceof VariableExpression && value.propertyAsString) {
                    if (of.name == 'env' || (of.name == 'currentBuild' && value.propertyAsString == 'currentResult')) return value
                }
                break
        }
        throw new Unsupported(line, "${value?.text} is not known as a value: a text, a variable, env.NAME and currentBuild.currentResult are")
    }
}
