package declarative

import org.codehaus.groovy.ast.expr.ClosureExpression
import org.codehaus.groovy.ast.expr.Expression

/** A call in the file: `name positional, key: value { block }`. */
class Call {
    String name
    int line
    List<Expression> positional = []
    Map<String, Expression> named = [:]
    ClosureExpression block
}
