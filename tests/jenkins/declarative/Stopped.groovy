package declarative

/** What ends a build's step: a failure, or an interruption (a timeout, a refusal, an agent that is gone). */
class Stopped extends Exception {
    final String result

    Stopped(String result, String message) {
        super(message)
        this.result = result
    }
}
