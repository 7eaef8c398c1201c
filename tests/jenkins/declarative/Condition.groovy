package declarative

import org.codehaus.groovy.ast.expr.Expression

/** A condition of `when`; children are those of not, anyOf and allOf. */
class Condition {
    String name
    int line
    Map<String, Expression> arguments = [:]
    List<Condition> children = []
}
