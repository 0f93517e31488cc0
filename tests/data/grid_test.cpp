#include "trm/data/grid.h"

#include <gmock/gmock.h>

namespace trm {
namespace {

TEST(Dihedral, EachFormOfASmallGrid) {
  Grid g{2, 3, {1, 2, 3, 4, 5, 6}};
  const std::vector<Grid> expected = {{2, 3, {1, 2, 3, 4, 5, 6}}, {3, 2, {3, 6, 2, 5, 1, 4}},
                                      {2, 3, {6, 5, 4, 3, 2, 1}}, {3, 2, {4, 1, 5, 2, 6, 3}},
                                      {2, 3, {3, 2, 1, 6, 5, 4}}, {2, 3, {4, 5, 6, 1, 2, 3}},
                                      {3, 2, {1, 4, 2, 5, 3, 6}}, {3, 2, {6, 3, 5, 2, 4, 1}}};
  for (int t = 0; t < 8; ++t) {
    EXPECT_EQ(dihedral(g, t), expected[static_cast<size_t>(t)]) << t;
    EXPECT_EQ(dihedral(dihedral(g, t), inverse_dihedral(t)), g) << t;
  }
}

}  // namespace
}  // namespace trm
