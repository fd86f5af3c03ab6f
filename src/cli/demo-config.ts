import { join } from 'node:path';
import type { Config } from '../config/config.ts';
import { parseConfig } from '../config/load.ts';

/** The configuration of a demonstration: defaults, a temporary folder, and the shipped policies. */
export function demoConfig(options: {
  readonly port: number;
  readonly adminPort: number;
  readonly folder: string;
  readonly upstreamUrl: string;
  readonly packageFolder: string;
}): Config {
  const text = JSON.stringify({
    environment: 'demo',
    listen: { port: options.port },
    admin: { port: options.adminPort },
    upstreams: { orders: { url: options.upstreamUrl } },
    policies: join(options.packageFolder, 'policies'),
    log: { level: 'error' },
  });
  const { config } = parseConfig(text, join(options.folder, 'demo.yaml'), {});
  if (config === null) throw new TypeError("the demonstration's own configuration is not valid");
  return config;
}
