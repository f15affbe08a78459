"""Adam and SGD as in Keras, whose steps are one kernel of TensorFlow for each variable instead of a dozen operations.

Arithmetic, variables and options are those of Keras' optimizers, and so are other backends' steps. Graphs become
smaller: most of the time of a short run goes into building them. TensorFlow's distribution strategies are not
supported.
"""

import keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
else:
    tf = None


class _WeightDecay:
    """Weight decay that evaluates the learning rate once a step; Keras does so for each variable."""

    def _apply_weight_decay(self, variables):
        if tf is None:
            super()._apply_weight_decay(variables)
        elif self.weight_decay:
            decay = tf.cast(self.learning_rate, "float32") * self.weight_decay
            for variable in filter(self._use_weight_decay, variables):
                variable.value.assign_sub(variable.value * decay)


class Adam(_WeightDecay, keras.optimizers.Adam):
    """`keras.optimizers.Adam`; with `weight_decay`, which is decoupled, this is AdamW."""

    def update_step(self, gradient, variable, learning_rate):
        if tf is None:
            return super().update_step(gradient, variable, learning_rate)
        index, step = self._get_variable_index(variable), tf.cast(self.iterations + 1, variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(tf.constant(self.beta_1, variable.dtype), step),
            beta2_power=tf.pow(tf.constant(self.beta_2, variable.dtype), step),
            lr=tf.cast(learning_rate, variable.dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, variable.dtype),
        )


class SGD(_WeightDecay, keras.optimizers.SGD):
    """`keras.optimizers.SGD` with momentum."""

    def update_step(self, gradient, variable, learning_rate):
        if tf is None:
            return super().update_step(gradient, variable, learning_rate)
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle,
            accum=self.momentums[self._get_variable_index(variable)].value.handle,
            lr=tf.cast(learning_rate, variable.dtype),
            grad=tf.cast(gradient, variable.dtype),
            momentum=self.momentum,
            use_nesterov=self.nesterov,
        )
