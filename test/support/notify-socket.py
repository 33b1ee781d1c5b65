# A NOTIFY_SOCKET for tests: prints what arrives there, a line for each datagram, until it is ended.
import socket
import sys

receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind(sys.argv[1])
print("bound", flush=True)
while True:
    print(receiver.recv(4096).decode().strip().replace("\n", " "), flush=True)
