package declarative

import org.codehaus.groovy.ast.expr.Expression

/** What `environment` says of one variable: a value, or the id of a credential. */
class Variable {
    String name
    int line
    Expression value
    boolean credential
}
