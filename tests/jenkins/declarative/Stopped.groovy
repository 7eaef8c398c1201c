package declarative

/** Ends a step: a failure, or an interruption (a timeout, a refusal, a lost agent). */
class Stopped extends Exception {
    final String result

    Stopped(String result, String message) {
        super(message)
        this.result = result
    }
}
