#include <sapwood/sapwood.hpp>

#include <cstdio>

using namespace std::chrono_literals;

sapwood::task<> read_orders(sapwood::channel<int>& orders) {
    for (;;) {
        const int order = co_await orders.receive(); // nobody sends: here it hangs
        std::printf("order %d\n", order);
    }
}

sapwood::task<> beat() {
    for (int beats = 0; beats < 1; ++beats) {
        co_await sapwood::sleep_for(3s);
    }
}

sapwood::task<> look() {
    co_await sapwood::sleep_for(5ms);
    std::fputs(sapwood::dump_tasks().c_str(), stdout);
}

sapwood::task<> serve() {
    sapwood::channel<int> orders(16);
    auto reader = sapwood::spawn(read_orders(orders), {.name = "reader"});
    co_await sapwood::when_all(sapwood::named("heartbeat", beat()), sapwood::named("look", look()));
    reader.cancel();
}

int main() {
    sapwood::event_loop loop;
    loop.on_slow_task(50ms, [](const sapwood::slow_task& slow) {
        std::fprintf(stderr, "\"%.*s\" held the loop, from %s:%u on\n",
                     static_cast<int>(slow.name.size()), slow.name.data(),
                     slow.resumed_at.file_name(), slow.resumed_at.line());
    });
    loop.run(serve());
    std::fputs(loop.ring_report().text().c_str(), stderr);
    std::fprintf(stderr, "%.1f system calls per turn\n", loop.stats().enters_per_turn());
}
