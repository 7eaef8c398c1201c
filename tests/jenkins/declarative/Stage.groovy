package declarative

import org.codehaus.groovy.ast.expr.Expression

/** A stage; the pipeline itself is one without a name, for it has the same sections. */
class Stage {
    String name = ''
    int line
    /** The label; null where there is none, or that of the stage around it is kept. */
    Expression agent
    /** By name: options with their arguments. */
    Map<String, Map<String, Object>> options = [:]
    List<Variable> environment = []
    When when
    Map<String, Expression> input
    int inputLine
    List<Stage> stages
    List<Stage> parallel
    List<Step> steps
    Map<String, List<Step>> post = [:]
}
