package declarative

/** What a shell runs, where and how long. */
class Command {
    Agent agent
    /** The stage's path, for the log. */
    String stage
    String text
    Map<String, String> variables
    /** Whether standard output is returned, not logged. */
    boolean stdout
    /** The System.nanoTime() at which it is killed; null: never. */
    Long deadline
}
