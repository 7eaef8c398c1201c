package declarative

/** Something that the runner does not do, or that Jenkins does not take: never skipped, always an error with its line. */
class Unsupported extends Exception {
    final int line

    Unsupported(int line, String message) {
        super("line ${line}: ${message}".toString())
        this.line = line
    }
}
