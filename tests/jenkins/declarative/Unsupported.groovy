package declarative

/** Syntax that the runner does not support or Jenkins does not accept, with its line. */
class Unsupported extends Exception {
    Unsupported(int line, String message) {
        super("line ${line}: ${message}".toString())
    }
}
