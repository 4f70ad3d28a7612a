/**
 * Preloaded into a process that is to be profiled: begins at SIGUSR2, writes its CPU profile to BULKHEAD_BENCH_PROFILE when the process
 * ends. Not from the start as `--cpu-prof` does: its timer's signals interrupt the verifier, and the programs would never be loaded.
 */
import { writeFileSync } from 'node:fs';
import { Session } from 'node:inspector';
import process from 'node:process';

const file = process.env['BULKHEAD_BENCH_PROFILE'];
if (file !== undefined) {
  process.once('SIGUSR2', () => {
    const session = new Session();
    session.connect();
    session.post('Profiler.enable');
    session.post('Profiler.start');
    process.once('exit', () =>
      session.post('Profiler.stop', (error, result) => {
        if (error === null) writeFileSync(file, JSON.stringify(result.profile));
      }),
    );
  });
}
