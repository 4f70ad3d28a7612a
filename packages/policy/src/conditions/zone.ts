/** Time as conditions see it: a moment, given as an argument, in the time zone that a policy names. */
import { weekdays } from './facts.ts';
import type { TimeFacts } from './facts.ts';

export type ZoneClock = (atMs: number) => TimeFacts;

/** Null if no such zone is known (IANA names, `UTC`). */
export function zoneClock(timeZone: string): ZoneClock | null {
  let format: Intl.DateTimeFormat;
  try {
    format = new Intl.DateTimeFormat('en-US', {
      timeZone,
      calendar: 'iso8601',
      numberingSystem: 'latn',
      hourCycle: 'h23',
      year: 'numeric',
      month: '2-digit',
      day: '2-digit',
      hour: '2-digit',
      minute: '2-digit',
      weekday: 'long',
    });
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
  // Formatting costs microseconds, and every fact stays the same within a minute: zones are whole minutes from UTC since 1972.
  let minute = Number.NaN;
  let facts: TimeFacts | null = null;
  return (atMs) => {
    const now = Math.floor(atMs / 60_000);
    if (facts === null || now !== minute) {
      facts = factsOf(format.formatToParts(now * 60_000));
      minute = now;
    }
    return facts;
  };
}

function factsOf(parts: readonly Intl.DateTimeFormatPart[]): TimeFacts {
  const part = (type: Intl.DateTimeFormatPartTypes): string =>
    parts.find((candidate) => candidate.type === type)?.value ?? '';
  const name = part('weekday').toLowerCase();
  const weekday = weekdays.find((candidate) => candidate === name);
  if (weekday === undefined) throw new Error(`Intl gives English weekdays, not ${name}`);
  const [year, month, day] = [part('year').padStart(4, '0'), part('month'), part('day')];
  const [hour, minute] = [part('hour'), part('minute')];
  return {
    year: Number(year),
    month: Number(month),
    day: Number(day),
    hour: Number(hour),
    minute: Number(minute),
    weekday,
    date: `${year}-${month}-${day}`,
    clock: `${hour}:${minute}`,
  };
}
