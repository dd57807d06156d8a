// Runs commands of the built program one after the other in one process, which is quicker than a process for each, and
// tells how each ended: `done`, `refused` with a sentence and a code, or `bug`, which is what the program calls one.
import { CommanderError } from 'commander';
import { ConfigFile } from '../../../dist/cli/config_file.js';
import { makeProgram } from '../../../dist/cli/program.js';
import { GraftError } from '../../../dist/core/errors.js';

const [node, , ...rest] = process.argv;
const program = new URL('../../../dist/cli/main.js', import.meta.url).pathname;
const usualFolder = process.cwd();

async function attempt({ args, folder }) {
  process.chdir(folder ?? usualFolder);
  process.argv = [node, program, ...args, ...rest];
  try {
    // As main does: what a config file says is held against all commands.
    const made = await makeProgram(ConfigFile.isThere() ? undefined : args);
    await ConfigFile.apply(made, args);
    await made.parseAsync();
    return { outcome: 'done' };
  } catch (error) {
    if (error instanceof GraftError) return { outcome: 'refused', code: error.code, message: error.message };
    if (error instanceof CommanderError) {
      return error.exitCode === 0 ? { outcome: 'done' } : { outcome: 'refused', message: error.message };
    }
    return { outcome: 'bug', message: error?.stack ?? String(error) };
  } finally {
    // A command that fails by its findings, as cache verify does, says so in the exit code.
    process.exitCode = 0;
  }
}

for (const stream of [process.stdout, process.stderr]) stream.write = () => true;
process.on('unhandledRejection', (error) => {
  process.send({ outcome: 'bug', message: `unhandled: ${error?.stack ?? error}` });
});
process.on('message', (request) => {
  void attempt(request).then((result) => process.send({ ...result, id: request.id }));
});
process.on('disconnect', () => process.exit());
process.send({ outcome: 'ready' });
