/**
 * Commands to iproute2, gathered: everything asked for while a batch runs goes into the next one, in order, as one process.
 * A thousand endpoints then cost a handful of processes.
 */
import { KernelError } from '../port.ts';
import { runTool, toolError } from './command.ts';

const linesMax = 4096;

interface Pending {
  readonly line: string;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Words of a line for `ip -batch`: no word may end the line or quote. */
export function lineOf(words: readonly string[]): string {
  for (const word of words) {
    if (!/^[\w.:/@%+-]+$/.test(word))
      throw new KernelError(`ip ${words.join(' ')}`, 'EINVAL', { detail: `word "${word}"` });
  }
  return words.join(' ');
}

export class IpBatches {
  #pending: Pending[] = [];
  #running = false;

  /** Runs one command; rejects with its own error whatever the other commands of the batch do. */
  run(...words: string[]): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#pending.push({ line: lineOf(words), resolve, reject });
      if (!this.#running) {
        this.#running = true;
        queueMicrotask(() => void this.#drain());
      }
    });
  }

  async #drain(): Promise<void> {
    while (this.#pending.length > 0) {
      const batch = this.#pending.splice(0, linesMax);
      try {
        const input = `${batch.map((entry) => entry.line).join('\n')}\n`;
        const finished = await runTool('ip', ['-force', '-batch', '-'], input);
        const { complaints, rest } = complaintsByLine(finished.complaint);
        // A word that iproute2 does not take ends it in the middle of a batch: what follows its last complaint may not have been done.
        const lastDone = finished.failed && rest !== '' ? Math.max(0, ...complaints.keys()) : batch.length;
        batch.forEach((entry, index) => {
          const complaint = complaints.get(index + 1) ?? (index < lastDone ? undefined : rest);
          if (complaint === undefined) entry.resolve();
          else entry.reject(toolError(`ip ${entry.line}`, complaint));
        });
      } catch (error) {
        for (const entry of batch) entry.reject(error);
      }
    }
    this.#running = false;
  }
}

/** iproute2 prints a command's complaint and then `Command failed -:LINE`; `rest` is what no such line follows. */
export function complaintsByLine(text: string): {
  readonly complaints: ReadonlyMap<number, string>;
  readonly rest: string;
} {
  const complaints = new Map<number, string>();
  let gathered: string[] = [];
  for (const line of text.split('\n')) {
    const failed = /^Command failed -:(\d+)/.exec(line);
    if (failed === null) {
      gathered.push(line);
    } else {
      complaints.set(Number(failed[1]), gathered.join('\n').trim());
      gathered = [];
    }
  }
  return { complaints, rest: gathered.join('\n').trim() };
}
