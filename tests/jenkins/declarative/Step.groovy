package declarative

/** A step, with the steps of its block. In a `script`, an assignment to env.NAME is one: its name is "=". */
class Step {
    String name
    int line
    Map<String, Object> arguments = [:]
    List<Step> body = []
}
