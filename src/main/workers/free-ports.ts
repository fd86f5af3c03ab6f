import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import type { Config } from '../../config/config.ts';

/**
 * The configuration with a free port in place of each 0: all workers have to take the same one, also those that are started
 * later. Whether it is still free then is for the first worker to find out.
 */
export async function withPorts(config: Config): Promise<Config> {
  const held: Server[] = [];
  const chosen = async ({ host, port }: { readonly host: string; readonly port: number }): Promise<number> => {
    if (port !== 0) return port;
    const server = createServer();
    server.listen({ host, port: 0 });
    await once(server, 'listening');
    held.push(server);
    const address = server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  };
  try {
    const [traffic, admin] = [await chosen(config.listen), await chosen(config.admin)];
    return {
      ...config,
      listen: { ...config.listen, port: traffic },
      admin: { ...config.admin, port: admin },
    };
  } catch {
    // The worker says what is wrong with the address, in the configuration's words.
    return config;
  } finally {
    await Promise.all(held.map((server) => new Promise((closed) => server.close(closed))));
  }
}
