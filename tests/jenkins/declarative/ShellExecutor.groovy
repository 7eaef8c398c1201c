package declarative

import java.nio.file.Files
import java.nio.file.StandardCopyOption
import java.util.concurrent.TimeUnit

/** Runs shells in workspaces that are clones, and copies files between them. */
class ShellExecutor extends Executor {
    private static final int GRACE_SECONDS = 5

    private final File folder
    private final Set<String> secrets = [].asSynchronized() as Set
    private final List<Process> running = [].asSynchronized()
    private boolean over = false

    ShellExecutor(Map<String, Object> scenario) {
        super(scenario)
        folder = new File(scenario.folder as String)
    }

    @Override
    boolean getReal() { true }

    @Override
    void begin() {
        Runtime.runtime.addShutdownHook(new Thread({ running.toList().each { kill(it) } }))
    }

    /** Stops the log: lines of a program that still runs would be taken for the next build's. */
    @Override
    synchronized void end() {
        over = true
    }

    @Override
    void show(Map<String, Object> event) {
        String line = ''
        switch (event.type) {
            case 'stage': line = 'begins'; break
            case 'end':
                String message = event.message ? ": ${event.message}" : ''
                line = "${event.result} after ${event.seconds.round(1)} s${message}"
                break
            case 'skipped': line = "skipped: ${event.reason}"; break
            case 'agent': line = "on ${event.label}-${event.number}"; break
            case 'lock': line = "holds ${event.resource}"; break
            case 'input':
                line = "${event.message} ${event.answer}${event.by ? " by ${event.by}" : ''}"
                break
            case 'error': line = "${event.during}: ${event.message}"; break
            case 'caught': line = "${event.message ?: 'caught'}: ${event.error}"; break
            case 'post': line = "post ${event.condition}"; break
            case 'result': line = "Finished: ${event.result}"; break
        }
        if (line) log(event.stage, line)
    }

    @Override
    void runParallel(List<Closure> branches) {
        def threads = branches.collect { branch -> Thread.start { branch() } }
        threads*.join()
    }

    @Override
    File workspace(Agent agent) {
        def workspace = new File(folder, "workspaces/${agent.label}-${agent.number}")
        workspace.mkdirs()
        workspace
    }

    @Override
    void checkout(Agent agent, Map<String, String> variables) {
        scenario.checkout.each { String text ->
            def done = sh(new Command(
                agent: agent, stage: 'checkout', text: text, variables: variables))
            if (done.exit != 0) {
                throw new Stopped('FAILURE', "the checkout ended with ${done.exit}: ${text}")
            }
        }
    }

    @Override
    String secretFile(String id, Map credential) {
        def file = new File(folder, "secrets/${id}")
        file.parentFile.mkdirs()
        Files.write(file.toPath(), (credential.value as String).bytes)
        file.setReadable(false, false)
        file.setReadable(true, true)
        file.path
    }

    /** credentials-binding: BindingStep's console filter. Also hides long words of secret files. */
    @Override
    void hide(Map credential, Map<String, String> variables) {
        if (credential.kind == 'usernamePassword') {
            secrets << credential.password
        } else {
            variables.each { _, value -> secrets.addAll(value.readLines().findAll { it.trim() }) }
        }
        if (credential.kind == 'file') {
            secrets.addAll((credential.value as String).findAll(/[A-Za-z0-9+\/=_-]{32,}/))
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
    Map<String, Object> sh(Command command) {
        def script = File.createTempFile('script', '.sh', folder)
        Files.write(script.toPath(), command.text.bytes)
        try {
            def process = start(script, command)
            def output = new StringBuilder()
            def readers = [Thread.start {
                process.inputStream.withReader('UTF-8') { reader ->
                    if (command.stdout) output << reader.text
                    else reader.eachLine { log(command.stage, it) }
                }
            }]
            if (command.stdout) readers << Thread.start {
                process.errorStream.withReader('UTF-8') { it.eachLine { log(command.stage, it) } }
            }
            boolean timedOut = !waitFor(process, command.deadline)
            if (timedOut) kill(process)
            int exit = process.waitFor()
            // A background process may keep the pipes open after the shell has ended.
            readers*.join(GRACE_SECONDS * 1000)
            running.remove(process)
            return [exit: exit, output: output.toString(), timedOut: timedOut]
        } finally {
            script.delete()
        }
    }

    /** durable-task: BourneShellScript, `sh -xe`. */
    private Process start(File script, Command command) {
        def builder = new ProcessBuilder('/bin/sh', '-xe', script.path)
        builder.directory(command.agent.workspace)
        builder.environment().clear()
        builder.environment().putAll(scenario.environment as Map<String, String>)
        builder.environment().putAll(command.variables)
        if (!command.stdout) builder.redirectErrorStream(true)
        def process = builder.start()
        running << process
        process.outputStream.close()
        process
    }

    /** Returns whether the process ended before the deadline. */
    private static boolean waitFor(Process process, Long deadline) {
        long left = deadline == null ? Long.MAX_VALUE : Math.max(0L, deadline - System.nanoTime())
        process.waitFor(left, TimeUnit.NANOSECONDS)
    }

    /** core: hudson.util.ProcessTree.killAll. */
    private static void kill(Process process) {
        // All get the signal before any is killed: each may have something to clean up.
        def all = process.descendants().iterator().toList() + [process.toHandle()]
        all.each { it.destroy() }
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(GRACE_SECONDS)
        while (all.any { it.alive } && System.nanoTime() < end) Thread.sleep(20)
        all.findAll { it.alive }.each { it.destroyForcibly() }
    }

    /** workflow-api: StashManager.stash. */
    @Override
    void stash(Agent agent, String name, String includes, boolean allowEmpty) {
        def paths = Glob.files(agent.workspace, includes)
        if (!paths && !allowEmpty) {
            throw new Stopped('FAILURE', "No files included in stash '${name}'")
        }
        def to = new File(folder, "stashes/${name}")
        if (to.exists()) to.deleteDir()
        to.mkdirs()
        copy(agent.workspace, to, paths)
        super.stash(agent, name, includes, allowEmpty)
    }

    /** workflow-api: StashManager.unstash. */
    @Override
    void unstash(Agent agent, String name) {
        super.unstash(agent, name)
        def from = new File(folder, "stashes/${name}")
        copy(from, agent.workspace, Glob.files(from, '**'))
    }

    /** core: hudson.tasks.ArtifactArchiver.perform. */
    @Override
    void archive(Agent agent, String artifacts, boolean allowEmpty) {
        def paths = Glob.files(agent.workspace, artifacts)
        if (!paths && !allowEmpty) {
            throw new Stopped('FAILURE',
                "No artifacts found that match the file pattern \"${artifacts}\"")
        }
        copy(agent.workspace, new File(folder, 'artifacts'), paths)
    }

    /** junit: JUnitResultArchiver, which makes a build with failed tests unstable. */
    @Override
    String junit(Agent agent, String results, boolean allowEmpty) {
        def paths = Glob.files(agent.workspace, results)
        if (!paths && !allowEmpty) {
            throw new Stopped('FAILURE', "No test report files were found: ${results}")
        }
        copy(agent.workspace, new File(folder, 'reports'), paths)
        boolean failed = paths.any {
            new File(agent.workspace, it).text =~ /<(?:failure|error)[\s>\/]/
        }
        failed ? 'UNSTABLE' : 'SUCCESS'
    }

    private static void copy(File from, File to, List<String> paths) {
        paths.each { path ->
            def target = new File(to, path)
            target.parentFile.mkdirs()
            Files.copy(new File(from, path).toPath(), target.toPath(),
                StandardCopyOption.REPLACE_EXISTING, StandardCopyOption.COPY_ATTRIBUTES)
        }
    }

    private synchronized void log(Object stage, Object text) {
        if (over) return
        println "[${stage}] ${masked(text as String)}"
        System.out.flush()
    }
}
