// A proxy that checks nothing. Arguments: its own port, the upstream's port.
import httpProxy from '@fastify/http-proxy';
import fastify from 'fastify';

const [port, upstream] = process.argv.slice(2).map(Number);
const server = fastify({ keepAliveTimeout: 600_000 });
await server.register(httpProxy, {
  upstream: `http://127.0.0.1:${upstream}`,
  undici: { connections: 256, pipelining: 1 },
});
await server.listen({ host: '127.0.0.1', port, backlog: 4096 });
process.stdout.write('ready\n');
