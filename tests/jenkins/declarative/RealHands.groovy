package declarative

import java.nio.file.Files
import java.nio.file.StandardCopyOption

/** Really does it: shells in workspaces that are clones, files carried from one to the next. */
class RealHands extends Hands {
    private static final int PATIENCE = 5

    private final File folder
    private final Set<String> secrets = [].asSynchronized() as Set
    private final List<Process> running = [].asSynchronized()
    private boolean over = false

    RealHands(Map<String, Object> conditions) {
        super(conditions)
        folder = new File(conditions.folder as String)
    }

    @Override
    boolean getReal() { true }

    @Override
    void begin() {
        Runtime.runtime.addShutdownHook(new Thread({ (running as List<Process>).each { kill(it) } }))
    }

    /** A program that was left running says nothing more, for the next build's lines are others. */
    @Override
    synchronized void end() {
        over = true
    }

    @Override
    void told(Map<String, Object> event) {
        switch (event.what) {
            case 'stage': say(event.stage, 'begins'); break
            case 'end': say(event.stage, "${event.result} after ${String.format('%.1f', event.seconds as double)} s${event.message ? ': ' + event.message : ''}"); break
            case 'skipped': say(event.stage, "skipped: ${event.why}"); break
            case 'agent': say(event.stage, "on ${event.label}-${event.number}"); break
            case 'lock': say(event.stage, "holds ${event.resource}"); break
            case 'input': say(event.stage, "${event.message} ${event.answer}${event.by ? ' by ' + event.by : ''}"); break
            case 'echo': say(event.stage, event.message); break
            case 'error': say(event.stage, "${event.during}: ${event.message}"); break
            case 'caught': say(event.stage, "${event.message ?: 'caught'}: ${event.error}"); break
            case 'post': say(event.stage, "post ${event.condition}"); break
            case 'result': say('', "Finished: ${event.result}"); break
        }
    }

    @Override
    void together(List<Closure> branches) {
        def threads = branches.collect { branch -> Thread.start { branch() } }
        threads*.join()
    }

    @Override
    File workspace(Agent agent) {
        def made = new File(folder, "workspaces/${agent.label}-${agent.number}")
        made.mkdirs()
        made
    }

    @Override
    void checkout(Agent agent, Map<String, String> variables) {
        conditions.checkout.each { String command ->
            def done = sh(agent, 'checkout', command, variables, false, null)
            if (done.exit != 0) throw new Stopped('FAILURE', "the checkout ended with ${done.exit}: ${command}")
        }
    }

    @Override
    String secret(String id, Map found) {
        if (found.path) return found.path
        def file = new File(folder, "secrets/${id}")
        file.parentFile.mkdirs()
        Files.write(file.toPath(), (found.value as String).bytes)
        file.setReadable(false, false)
        file.setReadable(true, true)
        file.path
    }

    /** Jenkins hides what it binds; long words of a secret file are hidden here, too. */
    @Override
    void hide(Map found, Map<String, String> variables) {
        if (found.kind == 'usernamePassword') {
            secrets << found.password
            secrets << "${found.username}:${found.password}".toString()
        } else {
            variables.each { name, value -> secrets.addAll(value.readLines().findAll { it.trim() }) }
        }
        if (found.kind == 'file') {
            String text = found.path ? new File(found.path as String).text : found.value
            secrets.addAll(text.findAll(/[A-Za-z0-9+\/=_-]{32,}/))
        }
    }

    String masked(String text) {
        def hidden
        synchronized (secrets) {
            hidden = secrets.findAll { it }.sort { -it.size() }
        }
        hidden.inject(text) { line, secret -> line.replace(secret, '****') } as String
    }

    @Override
    Map<String, Object> sh(Agent agent, String stage, String command, Map<String, String> variables, boolean stdout, Long deadline) {
        def script = File.createTempFile('script', '.sh', folder)
        Files.write(script.toPath(), command.bytes)
        try {
            def builder = new ProcessBuilder('/bin/sh', '-xe', script.path)
            builder.directory(agent.workspace)
            builder.environment().clear()
            builder.environment().putAll(conditions.environment as Map<String, String>)
            builder.environment().putAll(variables)
            if (!stdout) builder.redirectErrorStream(true)
            def process = builder.start()
            running << process
            process.outputStream.close()
            def output = new StringBuilder()
            def out = Thread.start {
                process.inputStream.withReader('UTF-8') { reader -> stdout ? output << reader.text : reader.eachLine { say(stage, it) } }
            }
            def err = stdout ? Thread.start { process.errorStream.withReader('UTF-8') { it.eachLine { line -> say(stage, line) } } } : null
            boolean interrupted = !ended(process, deadline)
            if (interrupted) kill(process)
            int exit = process.waitFor()
            // Whoever keeps the pipe open after the shell has ended is not waited for.
            out.join(PATIENCE * 1000)
            err?.join(PATIENCE * 1000)
            running.remove(process)
            return [exit: exit, output: output.toString(), interrupted: interrupted]
        } finally {
            script.delete()
        }
    }

    private static boolean ended(Process process, Long deadline) {
        if (deadline == null) {
            process.waitFor()
            return true
        }
        process.waitFor(Math.max(0L, deadline - System.nanoTime()), java.util.concurrent.TimeUnit.NANOSECONDS)
    }

    private static void kill(Process process) {
        // The last first, and none is killed while it may still be tidying up after the signal, whoever started it having ended or not.
        def all = process.descendants().iterator().toList() + [process.toHandle()]
        all.each { it.destroy() }
        long end = System.nanoTime() + java.util.concurrent.TimeUnit.SECONDS.toNanos(PATIENCE)
        while (all.any { it.alive } && System.nanoTime() < end) Thread.sleep(20)
        all.findAll { it.alive }.each { it.destroyForcibly() }
    }

    @Override
    void stash(Agent agent, String name, String includes, String excludes, boolean allowEmpty) {
        def paths = Glob.under(agent.workspace, includes, excludes)
        if (!paths && !allowEmpty) throw new Stopped('FAILURE', "No files included in stash '${name}'")
        def to = new File(folder, "stashes/${name}")
        if (to.exists()) to.deleteDir()
        to.mkdirs()
        copy(agent.workspace, to, paths)
        super.stash(agent, name, includes, excludes, allowEmpty)
    }

    @Override
    void unstash(Agent agent, String name) {
        super.unstash(agent, name)
        def from = new File(folder, "stashes/${name}")
        copy(from, agent.workspace, Glob.under(from, '**', null))
    }

    @Override
    void archive(Agent agent, String artifacts, String excludes, boolean allowEmpty) {
        def paths = Glob.under(agent.workspace, artifacts, excludes)
        if (!paths && !allowEmpty) throw new Stopped('FAILURE', "No artifacts found that match the file pattern \"${artifacts}\"")
        copy(agent.workspace, new File(folder, 'artifacts'), paths)
    }

    @Override
    String junit(Agent agent, String results, boolean allowEmpty) {
        def paths = Glob.under(agent.workspace, results, null)
        if (!paths && !allowEmpty) throw new Stopped('FAILURE', "No test report files were found: ${results}")
        copy(agent.workspace, new File(folder, 'reports'), paths)
        paths.any { new File(agent.workspace, it).text =~ /<(?:failure|error)[\s>\/]/ } ? 'UNSTABLE' : 'SUCCESS'
    }

    private static void copy(File from, File to, List<String> paths) {
        paths.each { path ->
            def target = new File(to, path)
            target.parentFile.mkdirs()
            Files.copy(new File(from, path).toPath(), target.toPath(), StandardCopyOption.REPLACE_EXISTING, StandardCopyOption.COPY_ATTRIBUTES)
        }
    }

    private synchronized void say(Object stage, Object text) {
        if (over) return
        println "[${stage}] ${masked(text as String)}"
        System.out.flush()
    }
}
