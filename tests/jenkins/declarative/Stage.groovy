package declarative

import org.codehaus.groovy.ast.expr.Expression

/** A stage. The pipeline itself is a stage without a name: it has the same sections. */
class Stage {
    String name = ''
    /** The label; null: the agent of the stage around it, if any. */
    Expression agent
    /** The arguments of each option, by its name. */
    Map<String, Map<String, Object>> options = [:]
    List<Variable> environment = []
    When when
    Map<String, String> input
    List<Stage> stages
    List<Stage> parallel
    List<Step> steps
    /** The steps of `post { always }`. */
    List<Step> always
}
