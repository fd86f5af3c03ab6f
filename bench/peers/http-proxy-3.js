// A proxy that looks a token up by its digest in memory. Arguments: its own port, the upstream's port, the token.
import { hash } from 'node:crypto';
import { Agent, createServer } from 'node:http';
import { createProxyServer } from 'http-proxy-3';

const [port, upstream, token] = process.argv.slice(2);
const grants = new Map([[hash('sha256', token), ['items:read']]]);
const agent = new Agent({ keepAlive: true, maxSockets: 256 });
const proxy = createProxyServer({ target: `http://127.0.0.1:${upstream}`, agent });
proxy.on('error', (_error, _request, response) => response.destroy());

const server = createServer({ keepAliveTimeout: 600_000 }, (request, response) => {
  const [scheme, given = ''] = (request.headers.authorization ?? '').split(' ');
  const granted = scheme === 'Bearer' ? grants.get(hash('sha256', given)) : undefined;
  if (granted === undefined) response.writeHead(401).end();
  else if (granted.includes('items:read')) proxy.web(request, response);
  else response.writeHead(403).end();
});
server.listen({ host: '127.0.0.1', port: Number(port), backlog: 4096 }, () => process.stdout.write('ready\n'));
