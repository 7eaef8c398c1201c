package declarative

import java.nio.file.Files

/** How paths are matched: Ant's patterns, as stash, archiveArtifacts and junit have them. */
class Glob {
    static boolean matches(String pattern, String path) {
        String text = pattern.endsWith('/') ? pattern + '**' : pattern
        path ==~ expression(text)
    }

    private static String expression(String pattern) {
        def made = new StringBuilder()
        def parts = pattern.split('/') as List
        parts.eachWithIndex { part, at ->
            boolean last = at == parts.size() - 1
            if (part == '**') {
                made << (last ? '.*' : '(?:[^/]+/)*')
            } else {
                part.each { letter -> made << (letter == '*' ? '[^/]*' : letter == '?' ? '[^/]' : java.util.regex.Pattern.quote(letter)) }
                // a/** is a, too.
                if (!last) made << (at == parts.size() - 2 && parts[-1] == '**' ? '(?:/|$)' : '/')
            }
        }
        made.toString()
    }

    /** The files under a folder that match one of the patterns, which commas part, by their paths. */
    static List<String> under(File folder, String includes, String excludes) {
        def wanted = patterns(includes)
        def unwanted = patterns(excludes) + ['**/.git/**', '**/*~', '**/.DS_Store']
        def found = []
        walk(folder, '') { String path ->
            if (wanted.any { matches(it, path) } && !unwanted.any { matches(it, path) }) found << path
        }
        found.sort()
    }

    private static List<String> patterns(String text) {
        (text ?: '').split(',').collect { it.trim() }.findAll { it }
    }

    private static void walk(File folder, String prefix, Closure each) {
        (folder.listFiles() ?: []).sort { it.name }.each { file ->
            String path = prefix + file.name
            if (file.directory && !Files.isSymbolicLink(file.toPath())) {
                if (file.name != '.git') walk(file, path + '/', each)
            } else {
                each(path)
            }
        }
    }
}
