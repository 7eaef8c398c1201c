package declarative

/** What a build does outside itself. This is the one that does nothing: it answers as the case has it. */
class Hands {
    protected final Map<String, Object> conditions
    private final Set<String> stashed = []

    Hands(Map<String, Object> conditions) {
        this.conditions = conditions
    }

    boolean getReal() { false }

    void begin() {}

    void end() {}

    void told(Map<String, Object> event) {}

    /** One after the other: what is recorded has an order. */
    void together(List<Closure> branches) {
        branches.each { it() }
    }

    File workspace(Agent agent) {
        new File("/workspace/${agent.label}-${agent.number}")
    }

    void checkout(Agent agent, Map<String, String> variables) {}

    String secret(String id, Map found) {
        "/secrets/${id}".toString()
    }

    void hide(Map found, Map<String, String> variables) {}

    Map<String, Object> sh(Agent agent, String stage, String command, Map<String, String> variables, boolean stdout, Long deadline) {
        int exit = conditions.failures[command] ?: 0
        def output = conditions.answers[command]
        if (stdout && exit == 0 && output == null) throw new Stopped('FAILURE', "the case has no answer of ${command}")
        [exit: exit, output: output, interrupted: false]
    }

    void stash(Agent agent, String name, String includes, String excludes, boolean allowEmpty) {
        stashed << name
    }

    void unstash(Agent agent, String name) {
        if (!(name in stashed)) throw new Stopped('FAILURE', "No such saved stash '${name}'")
    }

    String junit(Agent agent, String results, boolean allowEmpty) {
        'SUCCESS'
    }

    void archive(Agent agent, String artifacts, String excludes, boolean allowEmpty) {}
}
