package declarative

import org.codehaus.groovy.ast.expr.Expression

/** A variable of `environment`: its value, or the id of a credential. */
class Variable {
    String name
    Expression value
    boolean credential
}
