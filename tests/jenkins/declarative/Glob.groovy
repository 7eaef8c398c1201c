package declarative

import java.nio.file.FileSystems
import java.nio.file.Files
import java.nio.file.LinkOption

/** core: hudson.Util.createFileSet, Ant's patterns, as far as the Jenkinsfile uses them. */
class Glob {
    /** The files below a folder that match one of the patterns, which commas separate. */
    static List<String> files(File folder, String patterns) {
        def matchers = patterns.split(',').collect { text ->
            String pattern = text.trim()
            // Ant's **/ also matches no folder, Java's does not.
            if (pattern.contains('**/')) {
                throw new IllegalArgumentException("${pattern}: ** is supported at the end only")
            }
            FileSystems.default.getPathMatcher("glob:${pattern}")
        }
        if (!folder.exists()) return []
        def root = folder.toPath()
        def paths = Files.walk(root).iterator().toList()
            .findAll { !Files.isDirectory(it, LinkOption.NOFOLLOW_LINKS) }
            .collect { root.relativize(it) }
        paths.findAll { path -> matchers.any { it.matches(path) } }*.toString().sort()
    }
}
