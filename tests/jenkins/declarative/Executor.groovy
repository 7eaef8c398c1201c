package declarative

/** What a build does outside itself. This one does nothing: it answers as the scenario says. */
class Executor {
    protected final Map<String, Object> scenario
    private final Set<String> stashes = []

    Executor(Map<String, Object> scenario) {
        this.scenario = scenario
    }

    boolean getReal() { false }

    void begin() {}

    void end() {}

    void show(Map<String, Object> event) {}

    /** One branch after the other, so that the events have an order. */
    void runParallel(List<Closure> branches) {
        branches.each { it() }
    }

    File workspace(Agent agent) {
        new File("/workspace/${agent.label}-${agent.number}")
    }

    void checkout(Agent agent, Map<String, String> variables) {}

    String secretFile(String id, Map credential) {
        "/secrets/${id}"
    }

    void hide(Map credential, Map<String, String> variables) {}

    /** Returns the exit code, the output if it is asked for, and whether the time ran out. */
    Map<String, Object> sh(Command command) {
        int exit = scenario.failures[command.text] ?: 0
        def output = scenario.answers[command.text]
        if (command.stdout && exit == 0 && output == null) {
            throw new Stopped('FAILURE', "the scenario has no answer to ${command.text}")
        }
        [exit: exit, output: output, timedOut: false]
    }

    void stash(Agent agent, String name, String includes, boolean allowEmpty) {
        stashes << name
    }

    void unstash(Agent agent, String name) {
        if (!(name in stashes)) throw new Stopped('FAILURE', "No such saved stash '${name}'")
    }

    /** Returns the result that the reports give the build. */
    String junit(Agent agent, String results, boolean allowEmpty) {
        'SUCCESS'
    }

    void archive(Agent agent, String artifacts, boolean allowEmpty) {}
}
