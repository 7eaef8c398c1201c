package declarative

/** The conditions of a stage: the name and value of an environment variable, maybe negated. */
class When {
    List<Map<String, Object>> conditions = []
    boolean beforeInput
    boolean beforeOptions
}
