package declarative

/** A step, with the steps of its block. `env.NAME = value` in a script is the step "=". */
class Step {
    String name
    Map<String, Object> arguments = [:]
    List<Step> body = []
}
