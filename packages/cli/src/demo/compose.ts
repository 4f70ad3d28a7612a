/** The part of the Compose file format that the demo's application uses. An unknown field is an error: nothing is silently left out. */
import { parse } from 'yaml';
import { z } from 'zod';

const text = z.string().min(1);

const service = z.strictObject({
  image: text,
  command: z.array(text).optional(),
  networks: z.tuple([text]),
  environment: z.record(z.string(), z.coerce.string()).default({}),
  labels: z.record(z.string(), z.coerce.string()).default({}),
  ports: z.array(z.string().regex(/^\d+:\d+$/)).default([]),
  cap_add: z.array(text).default([]),
});
export type ComposeService = z.infer<typeof service>;

const network = z.strictObject({
  driver: text,
  ipam: z.strictObject({ driver: text, config: z.tuple([z.strictObject({ subnet: text })]) }),
});
export type ComposeNetwork = z.infer<typeof network>;

const composeFile = z.strictObject({
  name: text,
  networks: z.record(z.string(), network),
  services: z.record(z.string(), service),
});
export type ComposeFile = z.infer<typeof composeFile>;

export function parseCompose(source: string): ComposeFile {
  const file = composeFile.parse(parse(source));
  for (const [name, each] of Object.entries(file.services)) {
    if (file.networks[each.networks[0]] === undefined)
      throw new Error(`services.${name}.networks: there is no network ${each.networks[0]}`);
  }
  return file;
}

/** Arguments of `docker network create`. */
export function networkArguments(name: string, spec: ComposeNetwork): readonly string[] {
  return ['--driver', spec.driver, '--ipam-driver', spec.ipam.driver, '--subnet', spec.ipam.config[0].subnet, name];
}

/** Arguments of `docker run`. The container is called what the service is called, which is also its name on the network. */
export function runArguments(name: string, spec: ComposeService): readonly string[] {
  const pairs = (flag: string, values: Readonly<Record<string, string>>): readonly string[] =>
    Object.entries(values).flatMap(([key, value]) => [flag, `${key}=${value}`]);
  return [
    '--detach',
    ...['--name', name, '--hostname', name, '--network', spec.networks[0]],
    ...pairs('--env', spec.environment),
    ...pairs('--label', spec.labels),
    ...spec.ports.flatMap((port) => ['--publish', port]),
    ...spec.cap_add.flatMap((capability) => ['--cap-add', capability]),
    spec.image,
    ...(spec.command ?? []),
  ];
}
