package declarative

/** A node that a stage runs on, with a workspace of its own. */
class Agent {
    String label
    int number
    File workspace
    volatile boolean lost
}
