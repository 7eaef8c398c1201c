package declarative

/** The conditions of a stage: the expected values of environment variables, by name. */
class When {
    Map<String, String> conditions = [:]
    boolean beforeInput
    boolean beforeOptions
}
