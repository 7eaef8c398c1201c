package declarative

class When {
    List<Condition> conditions = []
    boolean beforeAgent
    boolean beforeInput
    boolean beforeOptions
}
