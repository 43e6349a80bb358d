#include <sapwood/sapwood.hpp>

#include <cstdio>
#include <string>
#include <thread>

using sapwood::task;

task<> produce(sapwood::channel<std::string>& lines, std::string name) {
    for (int i = 1; i <= 3; ++i) {
        co_await lines.send(name + " " + std::to_string(i)); // waits while the channel is full
    }
}

task<> consume(sapwood::channel<std::string>& lines) {
    while (auto line = co_await sapwood::as_result(lines.receive())) {
        std::printf("%s\n", line->c_str());
        lines.task_done();
    }
    std::printf("closed, and nothing is left\n");
}

task<> exchange() {
    sapwood::channel<std::string> lines(2);
    auto consumer = sapwood::spawn(consume(lines));
    co_await sapwood::when_all(produce(lines, "ash"), produce(lines, "birch"));
    co_await lines.join(); // every line has been dealt with

    std::thread other(
        [door = sapwood::remote_sender(lines)]() mutable { door.send("from another thread"); });
    co_await sapwood::run_blocking([&] { other.join(); });
    lines.close();
    co_await consumer;
}

int main() {
    sapwood::run(exchange());
}
