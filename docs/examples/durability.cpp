// A log whose records survive the machine, each awaited by who wrote it.

#include <sapwood/pipeline.hpp>
#include <sapwood/run.hpp>
#include <sapwood/when_all.hpp>

#include <cstdio>
#include <string>
#include <vector>

using sapwood::lsn;

sapwood::task<> pay(sapwood::pipeline& log, std::uint32_t customer) {
    sapwood::record item(sapwood::level::info, customer, "paid");
    const lsn place = co_await log.append(std::move(item)); // its number in the log
    co_await log.durable(place);                            // one fdatasync for all who wait
    // From here on it survives the machine: now the customer may be told.
}

sapwood::task<> serve(std::string path) {
    const sapwood::file_sink_options file{.path = path};
    sapwood::pipeline_options options;
    options.durable = sapwood::durability::batch();
    sapwood::pipeline log = co_await sapwood::pipeline::open(file, options);
    const lsn before = log.counts().durable; // numbers go on after a restart
    std::vector<sapwood::task<>> customers;
    for (std::uint32_t customer = 0; customer < 1000; ++customer) {
        customers.push_back(pay(log, customer));
    }
    co_await sapwood::when_all(std::move(customers));
    co_await log.close();
    const auto counts = log.counts();
    std::printf("%llu records are durable, with fewer than 100 syncs: %s\n",
                static_cast<unsigned long long>(to_number(counts.durable) - to_number(before)),
                counts.syncs < 100 ? "yes" : "no");
}

int main(int argc, char** argv) {
    sapwood::run(serve(argc > 1 ? argv[1] : "payments.log"));
}
