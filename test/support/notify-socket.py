# A NOTIFY_SOCKET for tests: prints each received datagram as a line, until it is killed.
import socket
import sys

receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind(sys.argv[1])
print("bound", flush=True)
while True:
    print(receiver.recv(4096).decode().strip().replace("\n", " "), flush=True)
