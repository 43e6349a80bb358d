// The page of metrics, read as strictly as Prometheus's own promtool does.
#include "served.hpp"

#include <collector/metrics.hpp>

#include <sapwood/run.hpp>

#include <algorithm>
#include <doctest/doctest.h>
#include <map>
#include <set>
#include <sstream>
#include <string>

namespace {

using namespace sapwood;
using namespace sapwood::test;

struct family {
    std::string help;
    std::string type;
    unsigned values = 0;
};

bool is_name(std::string_view text) {
    return !text.empty() && std::ranges::all_of(text, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
    });
}

/// What is wrong with a page, a line each.
std::vector<std::string> mistakes_in(const std::string& page, std::map<std::string, family>& all) {
    std::vector<std::string> mistakes;
    std::set<std::string> series;
    std::string current;
    if (!page.ends_with("\n")) {
        mistakes.emplace_back("it does not end with a newline");
    }
    std::istringstream lines(page);
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        std::string first;
        std::string name;
        words >> first;
        if (first == "#") {
            std::string kind;
            words >> kind >> name;
            std::string rest;
            std::getline(words >> std::ws, rest);
            if (!is_name(name) || rest.empty() || (kind != "HELP" && kind != "TYPE")) {
                mistakes.push_back("no comment that means something: " + line);
            } else if (kind == "HELP") {
                current = name;
                if (!all[name].help.empty()) {
                    mistakes.push_back("twice: " + line);
                }
                all[name].help = rest;
            } else {
                if (name != current || (rest != "counter" && rest != "gauge")) {
                    mistakes.push_back("a type that is none, or elsewhere: " + line);
                }
                all[name].type = rest;
            }
            continue;
        }
        const auto end = first.find('{');
        name = first.substr(0, end);
        std::string value;
        words >> value;
        std::string more;
        words >> more;
        char* stopped = nullptr;
        (void)std::strtod(value.c_str(), &stopped);
        if (name != current || value.empty() || *stopped != '\0' || !more.empty()) {
            mistakes.push_back("no value, or elsewhere: " + line);
        }
        if (end != first.npos &&
            (!first.ends_with("\"}") || first.find("=\"", end) == first.npos)) {
            mistakes.push_back("no label: " + line);
        }
        if (!series.insert(first).second) {
            mistakes.push_back("twice: " + line);
        }
        ++all[name].values;
    }
    return mistakes;
}

} // namespace

TEST_SUITE("metrics") {
    TEST_CASE("each has a help and a type before its values; counters end in _total; units stand "
              "last") {
        collector::collector_options options;
        for (const char* const name : {"app", "billing"}) {
            collector::named_log_options log;
            log.name = name;
            options.logs.push_back(log);
        }
        served at;
        for (auto& each : options.logs) {
            each.path = at.directory / (each.name + ".log");
        }
        options.listeners.emplace_back().at = loopback();
        served with_two(options);
        run([&]() -> task<> {
            co_await with_two.begin();
            const std::string page = collector::metrics_page(with_two.it->shared());
            std::map<std::string, family> all;
            CHECK(mistakes_in(page, all) == std::vector<std::string>());
            CHECK(all.size() > 20);
            for (const auto& [name, what] : all) {
                CAPTURE(name);
                CHECK(name.starts_with("sapwood_collector_"));
                CHECK(what.help.ends_with("."));
                CHECK(what.values > 0);
                CHECK(name.ends_with("_total") == (what.type == "counter"));
                // promtool: no unit but a base unit, and that before _total.
                const std::string bare =
                    name.ends_with("_total") ? name.substr(0, name.size() - 6) : name;
                for (const char* const unit : {"bytes", "seconds"}) {
                    CHECK((bare.find(unit) == bare.npos || bare.ends_with(unit)));
                }
                for (const char* const unit : {"milliseconds", "kilobytes", "minutes", "ms"}) {
                    CHECK(!bare.ends_with(unit));
                }
            }
            CHECK(all["sapwood_collector_log_records_accepted_total"].values == 2);
            co_await with_two.end();
        });
    }

    TEST_CASE("the reader of this test sees mistakes") {
        std::map<std::string, family> all;
        CHECK(mistakes_in("a_total 1\n", all).size() == 1);
        CHECK(mistakes_in("# HELP b Help.\n# TYPE b gauge\nb{x=\"1\"} 1\nb{x=\"1\"} 2\n", all)
                  .size() == 1);
        CHECK(mistakes_in("# HELP c Help.\n# TYPE c gauge\nc one\n", all).size() == 1);
        CHECK(mistakes_in("# HELP d Help.\n# TYPE d gauge\nd 1", all).size() == 1);
    }
}
