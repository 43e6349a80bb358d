// What a program does, as actions: each a first and a last record, with what was logged between.
// The log is app.json.

#include <sapwood/file_log_sink.hpp>
#include <sapwood/json_layout.hpp>
#include <sapwood/log_call.hpp>
#include <sapwood/sapwood.hpp>

#include <chrono>
#include <memory>
#include <utility>
#include <vector>

struct order {
    int id;
    std::vector<int> items;
};

sapwood::task<int> insert(const sapwood::logger& log, const order& one) {
    co_await sapwood::sleep_for(std::chrono::milliseconds(1));
    log.info("stored {} rows", one.items.size());
    co_return 1000 + one.id;
}

sapwood::task<int> save_order(const sapwood::logger& log, order one) {
    auto action = log.start_action("save_order", sapwood::kv("order", one.id),
                                   sapwood::kv("items", one.items.size()));
    // What is logged inside, also in tasks that it starts, hangs below.
    const int receipt = co_await insert(log, one);
    action.add_success(sapwood::kv("receipt", receipt));
    co_return receipt; // an exception instead is recorded as the failure
}

sapwood::task<> serve(const sapwood::logger& log) {
    const order one{.id = 17, .items = {1, 2}};
    co_await save_order(log, one);
    co_await SAPWOOD_LOG_CALL(log, insert, log, one); // what went in and what came out
    co_await log.flush();
}

int main() {
    sapwood::logger_options options;
    options.outputs.push_back({.sink = std::make_unique<sapwood::file_log_sink>("app.json"),
                               .form = std::make_unique<sapwood::json_layout>()});
    const sapwood::logger log(std::move(options));
    sapwood::run(serve(log));
}
