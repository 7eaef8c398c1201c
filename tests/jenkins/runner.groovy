// Runs Jenkinsfiles without Jenkins: `groovy -cp tests/jenkins tests/jenkins/runner.groovy MARK`.
// Each line of input is a request in JSON. Each answer is a line of JSON behind the mark.
// harness.py sends the requests; declarative/ has the supported part of Jenkins.
import declarative.Build
import declarative.Executor
import declarative.Reader
import declarative.ShellExecutor
import declarative.Unsupported
import groovy.json.JsonOutput
import groovy.json.JsonSlurper

final MARK = args[0]

def masked
masked = { value, mask ->
    switch (value) {
        case Map: return value.collectEntries { key, inner -> [key, masked(inner, mask)] }
        case List: return value.collect { masked(it, mask) }
        case CharSequence: return mask(value.toString())
        default: return value
    }
}

def read = { text ->
    try {
        [stage: new Reader().read(text)]
    } catch (Unsupported error) {
        [error: error.message]
    }
}.memoize()

def run = { request, requested ->
    def file = read(request.texts[requested.text])
    if (file.error) return [result: null, error: file.error, events: []]
    def executor = request.real
        ? new ShellExecutor(requested.scenario) : new Executor(requested.scenario)
    def build = new Build(file.stage, requested.scenario, executor).run()
    executor.end()
    def mask = request.real ? { executor.masked(it) } : { it }
    masked(build, mask)
}

System.setOut(new PrintStream(new FileOutputStream(FileDescriptor.out), true, 'UTF-8'))
System.in.withReader('UTF-8') { requests ->
    requests.eachLine { line ->
        def answer
        try {
            def request = new JsonSlurper().parseText(line)
            answer = [runs: request.runs.collect { run(request, it) }]
        } catch (Throwable error) {
            def trace = new StringWriter()
            error.printStackTrace(new PrintWriter(trace, true))
            answer = [broken: trace.toString()]
        }
        println(MARK + JsonOutput.toJson(answer))
    }
}
System.exit(0)
