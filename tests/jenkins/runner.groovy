// Executes Jenkinsfiles without Jenkins: `groovy -cp tests/jenkins tests/jenkins/runner.groovy REQUEST ANSWER`, both JSON.
// harness.py writes the one and reads the other; what is known of a Jenkinsfile is in declarative/.
import declarative.Build
import declarative.Hands
import declarative.Reader
import declarative.RealHands
import declarative.Unsupported
import groovy.json.JsonOutput
import groovy.json.JsonSlurper

final EXITS = [SUCCESS: 0, FAILURE: 1, UNSTABLE: 2, ABORTED: 3]
final REFUSED = 64

def request = new JsonSlurper().parse(new File(args[0]))
def readings = request.texts.collect { text ->
    try {
        [stage: new Reader().read(text)]
    } catch (Unsupported error) {
        [error: error.message]
    }
}

def hidden = { it }
def shown
shown = { value ->
    switch (value) {
        case Map: return value.collectEntries { key, inner -> [key, shown(inner)] }
        case List: return value.collect { shown(it) }
        case CharSequence: return hidden(value.toString())
        default: return value
    }
}

def answers = request.runs.collect { run ->
    def reading = readings[run.text]
    if (reading.error) return [result: null, error: reading.error, events: [], exit: REFUSED]
    def hands = request.real ? new RealHands(run.conditions) : new Hands(run.conditions)
    def answer = new Build(reading.stage, run.conditions, hands).run()
    if (hands.real) hidden = { hands.masked(it) }
    shown(answer) + [exit: answer.error ? REFUSED : EXITS[answer.result]]
}
new File(args[1]).text = JsonOutput.toJson(answers)
System.exit(request.real ? answers[0].exit : 0)
