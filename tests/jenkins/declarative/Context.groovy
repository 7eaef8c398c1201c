package declarative

/** What the sections around a step give it. A context never changes; it is copied. */
class Context {
    List<Map<String, String>> layers = []
    Agent agent
    String stage = ''
    List<String> credentials = []
    List<String> locks = []
    /** The timeouts of the options around, outermost first, in seconds. */
    List<Integer> timeouts = []
    /** The System.nanoTime() at which the first of them ends; null without one. */
    Long deadline

    Context but(Map<String, Object> changes) {
        def copy = new Context(
            layers: layers, agent: agent, stage: stage, credentials: credentials, locks: locks,
            timeouts: timeouts, deadline: deadline)
        changes.each { key, value -> copy[key] = value }
        copy
    }

    Context having(Map<String, String> variables) {
        but(layers: layers + [variables])
    }

    Context limited(int seconds) {
        long end = System.nanoTime() + seconds * 1_000_000_000L
        but(timeouts: timeouts + [seconds], deadline: Math.min(deadline ?: end, end))
    }
}
