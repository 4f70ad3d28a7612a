/** What a command writes to: streams, width, colours, and a progress line that leaves no trace. */
import process from 'node:process';
import type { Writable } from 'node:stream';
import { choosePaint, steady, type Paint } from './paint.ts';

export interface Terminal {
  /** Results. */
  readonly out: (line: string) => void;
  /** Everything that is not the result: notes, warnings, progress. */
  readonly err: (line: string) => void;
  readonly paint: Paint;
  readonly errPaint: Paint;
  /** Columns of the terminal; undefined where stdout is none. */
  readonly width: number | undefined;
  readonly height: number | undefined;
  /** A person watches and can answer. */
  readonly interactive: boolean;
  /** Empties the screen, where there is one. */
  readonly clear: () => void;
  readonly progress: (title: string, total?: number) => Progress;
}

export interface Progress {
  /** `done` of the total, or a word about what is being done. */
  update(state: { readonly done?: number; readonly note?: string }): void;
  /** Takes the line away; `summary` stays in its place. */
  end(summary?: string): void;
}

type TerminalStream = Writable & { readonly isTTY?: boolean; readonly columns?: number; readonly rows?: number };

const clearScreen = '\u001B[H\u001B[2J';
const barWidth = 24;
const framesPerSecond = 10;

/** `[########............] 8/20 title: note` */
export function progressLine(title: string, done: number, total: number | undefined, note: string): string {
  const text = note === '' ? title : `${title}: ${note}`;
  if (total === undefined) return text;
  const filled = total === 0 ? barWidth : Math.round((Math.min(done, total) / total) * barWidth);
  return `[${'#'.repeat(filled)}${'.'.repeat(barWidth - filled)}] ${done}/${total} ${text}`;
}

/** On a terminal one line that is drawn over; elsewhere only the summary, so that logs stay readable. */
function createProgress(stream: TerminalStream, title: string, total: number | undefined): Progress {
  const live = stream.isTTY === true;
  let done = 0;
  let note = '';
  let frame = 0;
  const spinner = ['|', '/', '-', '\\'];
  const draw = (): void => {
    const mark = total === undefined ? `${spinner[frame % spinner.length]} ` : '';
    frame += 1;
    const line = mark + progressLine(title, done, total, note);
    stream.write(`\r\u001B[2K${[...line].slice(0, (stream.columns ?? 80) - 1).join('')}`);
  };
  const timer = live ? setInterval(draw, 1000 / framesPerSecond) : undefined;
  timer?.unref();
  if (live) draw();
  return {
    update(state) {
      done = state.done ?? done;
      note = state.note ?? note;
    },
    end(summary) {
      clearInterval(timer);
      if (live) stream.write('\r\u001B[2K');
      if (summary !== undefined) stream.write(`${summary}\n`);
    },
  };
}

export function createTerminal(
  out: TerminalStream,
  err: TerminalStream,
  environment: Readonly<Record<string, string | undefined>>,
  input: { readonly isTTY?: boolean } = process.stdin,
): Terminal {
  return {
    // What goes to a file or a pipe stays as it is; on a terminal nothing that came from elsewhere has a say.
    out: (line) => void out.write(`${out.isTTY === true ? steady(line) : line}\n`),
    err: (line) => void err.write(`${err.isTTY === true ? steady(line) : line}\n`),
    clear: () => {
      if (out.isTTY === true) out.write(clearScreen);
    },
    paint: choosePaint(out, environment),
    errPaint: choosePaint(err, environment),
    width: out.isTTY === true ? out.columns : undefined,
    height: out.isTTY === true ? out.rows : undefined,
    interactive: input.isTTY === true && out.isTTY === true,
    progress: (title, total) => createProgress(err, title, total),
  };
}
