package declarative

/** Where a step runs: what the sections around it gave it. Never changed, only copied. */
class Context {
    List<Map<String, String>> layers = []
    Agent agent
    String stage = ''
    List<String> credentials = []
    List<String> locks = []
    /** Of the options around, outermost first; in seconds. */
    List<Integer> timeouts = []
    /** System.nanoTime() that none of them allows to pass; null where nothing is limited. */
    Long deadline

    Context but(Map<String, Object> changes) {
        def copy = new Context(
            layers: layers, agent: agent, stage: stage, credentials: credentials, locks: locks, timeouts: timeouts, deadline: deadline)
        changes.each { key, value -> copy[key] = value }
        copy
    }

    Context having(Map<String, String> variables) {
        but(layers: layers + [variables])
    }

    Context limited(int seconds) {
        long end = System.nanoTime() + seconds * 1_000_000_000L
        but(timeouts: timeouts + [seconds], deadline: deadline == null ? end : Math.min(deadline, end))
    }
}
