// A broker in a separate process that sends its metrics on request. Argument: its options, as JSON.
import { SocketManager } from 'sluice';

const manager = new SocketManager(JSON.parse(process.argv[2]));
await manager.start();
process.on('message', async (order) => {
  if (order === 'sample') process.send({ metrics: manager.getMetrics(), memory: process.memoryUsage() });
  else await manager.stop().then(() => process.exit());
});
process.on('disconnect', () => process.exit(1));
process.send('ready');
