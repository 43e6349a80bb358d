// The README's program, in few lines for its page.
// clang-format off

#include <sapwood/pipeline.hpp>
#include <sapwood/sapwood.hpp>

sapwood::task<> serve(sapwood::pipeline& log, std::uint32_t id) {
    for (int request = 1; request <= 3; ++request) {
        co_await sapwood::sleep_for(std::chrono::milliseconds(10));
        co_await log.append(sapwood::make_record(sapwood::level::info, id, "request {} done", request));
    }
}
sapwood::task<> run() {
    sapwood::pipeline log(co_await sapwood::file_sink::open({.path = "app.log"}));
    co_await sapwood::when_all(serve(log, 1), serve(log, 2), serve(log, 3));
    co_await log.close();                       // every line is in the file now
}
int main() { sapwood::run(run()); }
