// Executes Jenkinsfiles without Jenkins: `groovy -cp tests/jenkins tests/jenkins/runner.groovy MARK`. Each line that it reads is a request in
// JSON, each line that it writes with the mark before it the answer. harness.py writes the one and reads the other; what is known of a
// Jenkinsfile is in declarative/.
import declarative.Build
import declarative.Hands
import declarative.Reader
import declarative.RealHands
import declarative.Unsupported
import groovy.json.JsonOutput
import groovy.json.JsonSlurper

final EXITS = [SUCCESS: 0, FAILURE: 1, UNSTABLE: 2, ABORTED: 3]
final REFUSED = 64
final MARK = args[0]

def shown
shown = { value, hidden ->
    switch (value) {
        case Map: return value.collectEntries { key, inner -> [key, shown(inner, hidden)] }
        case List: return value.collect { shown(it, hidden) }
        case CharSequence: return hidden(value.toString())
        default: return value
    }
}

def reading = { text ->
    try {
        [stage: new Reader().read(text)]
    } catch (Unsupported error) {
        [error: error.message]
    }
}.memoize()

def answer = { request ->
    def readings = request.texts.collect(reading)
    request.runs.collect { run ->
        def read = readings[run.text]
        if (read.error) return [result: null, error: read.error, events: [], exit: REFUSED]
        def hands = request.real ? new RealHands(run.conditions) : new Hands(run.conditions)
        def built = new Build(read.stage, run.conditions, hands).run()
        hands.end()
        shown(built, hands.real ? { hands.masked(it) } : { it }) + [exit: built.error ? REFUSED : EXITS[built.result]]
    }
}

System.setOut(new PrintStream(new FileOutputStream(FileDescriptor.out), true, 'UTF-8'))
System.in.withReader('UTF-8') { requests ->
    requests.eachLine { line ->
        def answered
        try {
            answered = [runs: answer(new JsonSlurper().parseText(line))]
        } catch (Throwable error) {
            def trace = new StringWriter()
            error.printStackTrace(new PrintWriter(trace, true))
            answered = [broken: trace.toString()]
        }
        println(MARK + JsonOutput.toJson(answered))
    }
}
System.exit(0)
