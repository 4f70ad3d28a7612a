/** A link for a host that may not be enrolled yet: enrols as soon as there is a token and a manager, then is the link over TLS. */
import { existsSync, readFileSync } from 'node:fs';
import { parseEnrolmentToken } from '@bulkhead/protocol';
import type { AgentMessage, QuestionMessage } from '@bulkhead/protocol';
import { backoffMs } from './backoff.ts';
import { CredentialsError, readCredentials } from './credentials.ts';
import { enrol } from './enrol.ts';
import { tlsLink, type LinkOptions } from './link.ts';
import type { LinkContext, ManagerLink, ManagerLinkFactory } from './manager-link.ts';

/** How often a file that is to hold the token is looked for. */
const tokenPeriodMs = 1_000;
/** Somebody waits for the host to appear, and may put another token in place of a wrong one. */
const enrolRetryMaxMs = 5_000;

export interface EnrollingOptions extends Omit<LinkOptions, 'credentials'> {
  readonly host: string;
  /** Of the manager's API, where hosts enrol. */
  readonly managerHost: string;
  readonly managerPort: number;
  /** Where the link is, if not where the manager said at enrolment. */
  readonly linkAddress: { readonly host: string; readonly port: number } | null;
  readonly token: string | null;
  /** A file in which somebody may put the token. */
  readonly tokenFile: string | null;
}

export function enrollingLink(options: EnrollingOptions): ManagerLinkFactory {
  return (context) => new EnrollingLink(options, context);
}

class EnrollingLink implements ManagerLink {
  readonly #options: EnrollingOptions;
  readonly #context: LinkContext;
  #link: ManagerLink | null = null;
  #why = 'not enrolled';
  #attempt = 0;
  #isClosed = false;
  #cancel: () => void = () => undefined;

  constructor(options: EnrollingOptions, context: LinkContext) {
    this.#options = options;
    this.#context = context;
    this.#begin();
  }

  get isReady(): boolean {
    return this.#link?.isReady ?? false;
  }

  get lastError(): string {
    return this.#link?.lastError ?? this.#why;
  }

  send(message: AgentMessage): boolean {
    return this.#link?.send(message) ?? false;
  }

  ask(questions: readonly QuestionMessage[]): boolean {
    return this.#link?.ask(questions) ?? false;
  }

  reconnectFull(): void {
    this.#link?.reconnectFull();
  }

  [Symbol.dispose](): void {
    this.#isClosed = true;
    this.#cancel();
    this.#link?.[Symbol.dispose]();
  }

  #begin(): void {
    const known = readCredentials(this.#options.directory);
    if (known === null) return this.#lookForToken();
    const { host, linkAddress } = this.#options;
    if (known.host !== host) {
      throw new CredentialsError(
        `this host is enrolled as ${known.host}, not as ${host}; remove the credentials to enrol it anew`,
      );
    }
    const address = linkAddress === null ? {} : { linkHost: linkAddress.host, linkPort: linkAddress.port };
    this.#link = tlsLink({ ...this.#options, credentials: { ...known, ...address } })(this.#context);
  }

  #lookForToken(): void {
    if (this.#isClosed) return;
    const { token, tokenFile } = this.#options;
    const { clock } = this.#context;
    const text = token ?? (tokenFile !== null && existsSync(tokenFile) ? readFileSync(tokenFile, 'utf8') : null);
    if (text === null) {
      this.#why =
        tokenFile === null ? 'not enrolled, and no token' : `not enrolled; a token is looked for in ${tokenFile}`;
      this.#cancel = clock.after(tokenPeriodMs, () => this.#lookForToken());
      return;
    }
    this.#enrol(text).catch((error: unknown) => {
      this.#why = `enrolment: ${error instanceof Error ? error.message : String(error)}`;
      this.#context.log.warn({ why: this.#why }, 'the host could not be enrolled');
      this.#cancel = clock.after(Math.min(backoffMs(this.#attempt++, this.#options.random()), enrolRetryMaxMs), () =>
        this.#lookForToken(),
      );
    });
  }

  async #enrol(text: string): Promise<void> {
    const { directory, host, managerHost, managerPort } = this.#options;
    const token = parseEnrolmentToken(text);
    if (token === null) throw new CredentialsError('the text is no enrolment token (bhe.…)');
    await enrol({ directory, host, managerHost, managerPort, token });
    this.#context.log.info({ host }, 'the host is enrolled');
    if (!this.#isClosed) this.#begin();
  }
}
